"""Prints the configuration of the load balancer for an installation."""

from pathlib import Path
from typing import Annotated

import typer

from tools.ops.operating import operating

app = typer.Typer()


@app.command()
def balancer(
    *,
    ingest: Annotated[
        list[str] | None, typer.Option(help="host:port of a process of ingest; give it once for each.")
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option(help="host:port of a process of query; give it once for each.")
    ] = None,
    ingest_dns: Annotated[
        str | None, typer.Option(help="In place of --ingest: name:port, where DNS knows the addresses of them all.")
    ] = None,
    query_dns: Annotated[str | None, typer.Option(help="In place of --query, as --ingest-dns.")] = None,
    processes_max: Annotated[int, typer.Option(help="How many processes of each a name may stand for.", min=1)] = 16,
    certificate: Annotated[Path, typer.Option(help="The file with the certificate, its chain and its key.")] = Path(
        "/etc/haproxy/certificates/view-counts.pem"
    ),
    bind: Annotated[str, typer.Option(help="The address at which clients connect.")] = "*",
    private: Annotated[
        str, typer.Option(help="host:port for operators and monitoring: figures and a page of the state.")
    ] = "127.0.0.1:8404",
    socket: Annotated[Path, typer.Option(help="The socket of its administrator.")] = Path("/run/haproxy/admin.sock"),
    connections_max: Annotated[int, typer.Option(help="How many connections of clients there may be.", min=1)] = 8000,
    balancers: Annotated[int, typer.Option(help="How many balancers share the services.", min=1)] = 2,
    behind_proxy: Annotated[
        bool,
        typer.Option("--behind-proxy", help="Clients come through another proxy, whose word for them is kept."),
    ] = False,
) -> None:
    """Print a configuration for HAProxy 2.6, with TLS alone, on the ports 8443 (ingest) and 8493 (query)."""
    from tools.balancer import Balancer, BalancerError, Door, Listed, Resolved, Times, check_leaving, configuration

    def door(name: str, port: int, addresses: list[str] | None, resolved: str | None) -> Door:
        if bool(addresses) == bool(resolved):
            raise BalancerError(f"--{name} and --{name}-dns: give one of them")
        servers = Resolved(resolved, processes_max) if resolved else Listed(addresses or [])
        return Door(None, f"{bind}:{port}", servers)

    with operating(BalancerError) as settings:
        check_leaving(settings)
        made = Balancer(
            door("ingest", 8443, ingest, ingest_dns),
            door("query", 8493, query, query_dns),
            private=private,
            socket=socket,
            certificate=certificate,
            keeps_forwarded=behind_proxy,
            connections_max=connections_max,
            balancers=balancers,
        )
        typer.echo(configuration(made, Times.of(settings)), nl=False)
