"""The tables that contenders make, and their columns. The last column of each is the count, the others are the key.

Times are minutes, hours and days since 1970. A country that is not known is ''.
"""

COLUMNS = {
    "minutes": ("video_id", "kind", "at_minute", "views"),
    "hours": ("video_id", "kind", "at_hour", "views"),
    "days": ("video_id", "kind", "at_day", "views"),
    "countries": ("video_id", "kind", "country", "at_hour", "views"),
    "viewers": ("video_id", "kind", "at_day", "viewers"),
}
