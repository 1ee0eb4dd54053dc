"""The class of a user agent, by what real programs send, and by what nobody should."""

import pytest

from services.ingest import agents
from services.ingest.agents import AGENT_BYTES_MAX, KEPT_MAX, Agent, agent_of

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1"
)
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Safari/605.1.15"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
EDGE = f"{CHROME} Edg/130.0.0.0"
GOOGLEBOT = (
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Googlebot/2.1; +http://www.google.com/bot.html) "
    "Chrome/130.0.0.0 Safari/537.36"
)
GPTBOT = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)"
CLAUDEBOT = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)"
HEADLESS = CHROME.replace("Chrome/", "HeadlessChrome/")


@pytest.mark.parametrize("user_agent", [CHROME, IPHONE, SAFARI, FIREFOX, EDGE])
def test_a_browser_is_a_browser(user_agent: str) -> None:
    assert agent_of(user_agent) is Agent.BROWSER


@pytest.mark.parametrize(
    "user_agent",
    [GOOGLEBOT, GPTBOT, CLAUDEBOT, HEADLESS, "curl/8.10.1", "python-requests/2.32.3", "Go-http-client/2.0"],
)
def test_a_program_on_the_list_is_a_bot(user_agent: str) -> None:
    assert agent_of(user_agent) is Agent.BOT


@pytest.mark.parametrize("user_agent", ["", " ", "-", "ExampleTv/3.1", "Mozilla/5.0", "\ud800", "\0", "é" * 600])
def test_what_nobody_knows_is_unknown(user_agent: str) -> None:
    assert agent_of(user_agent) is Agent.UNKNOWN


def test_only_the_first_bytes_are_read() -> None:
    bot = "Googlebot/2"
    assert agent_of(CHROME.ljust(AGENT_BYTES_MAX - len(bot)) + bot) is Agent.BOT
    assert agent_of(CHROME.ljust(AGENT_BYTES_MAX) + bot) is Agent.BROWSER
    # With two bytes each, fewer characters are read than there may be bytes.
    assert agent_of("é" * (AGENT_BYTES_MAX // 2) + bot) is Agent.UNKNOWN


def test_what_strangers_send_fills_no_memory() -> None:
    for number in range(KEPT_MAX + 100):
        agent_of(f"{number} {'x' * 10_000}")
    kept = agents._agent.cache_info()
    assert kept.currsize == kept.maxsize == KEPT_MAX
