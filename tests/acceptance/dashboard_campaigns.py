"""The campaigns of the dashboard's screens, and those whose words are hostile."""

from __future__ import annotations

from datetime import datetime, timedelta

from acceptance.dashboard_world import NOW, World, problem

#: Foreign words as unfriendly as they come.
FOREIGN = '"><img src=x onerror=alert(1)>'


def populate(
    url: str, now: datetime = NOW, *, large: int = 1_000_000, organisation: str = "default"
) -> None:
    """Write campaigns in every state, the largest of so many messages."""
    world = World(url, now, organisation)
    try:
        _ended(world)
        _waiting(world)
        _open(world, large)
    finally:
        world.close()


def _ended(world: World) -> None:
    ago = world.ago
    world.add(
        "notice-1119",
        "CANCELLED",
        display_name="Service notice (wrong list)",
        channel="sms",
        total=10_000,
        parts=[
            ("sent", 1, 304, "", ""),
            ("failed", 305, 306, "450", "greylisted"),
            ("skipped", 307, 10_000, "cancelled", ""),
        ],
        create_time=ago(days=6, hours=1),
        start_time=ago(days=6, minutes=2),
        progress_time=ago(days=6),
        complete_time=ago(days=6),
        trail=[
            (None, "DRAFT", "USER", "key:crm-export", "", "", ago(days=6, hours=1), 0),
            ("DRAFT", "SENDING", "USER", "key:crm-export", "", "", ago(days=6, minutes=2), 0),
            (
                "SENDING",
                "CANCELLED",
                "USER",
                "key:ops via dashboard",
                "",
                "wrong list",
                ago(days=6),
                0,
            ),
        ],
    )
    start, end = ago(hours=18, minutes=15), ago(hours=17, minutes=21)
    number = world.add(
        "invoices-2026-10",
        "COMPLETED",
        display_name="Invoice reminders, October",
        total=12_480,
        parts=[
            ("sent", 1, 7_560, "", ""),
            ("unknown", 7_561, 7_572, "in_doubt", "sender stopped before the answer was stored"),
            ("failed", 7_573, 7_626, "550", "5.1.1 No such mailbox here"),
            ("failed", 7_627, 7_634, "552", "5.2.2 Mailbox full"),
            ("skipped", 7_635, 7_649, "suppressed", "the address is suppressed"),
            ("sent", 7_650, 12_480, "", ""),
        ],
        labels={"list": "billing"},
        last_reporter="sender-eu-2",
        create_time=ago(hours=41),
        schedule_time=start,
        start_time=start,
        progress_time=end,
        complete_time=end,
        trail=[
            (None, "DRAFT", "USER", "key:billing", "", "", ago(hours=41), 0),
            ("DRAFT", "SCHEDULED", "USER", "key:billing", "", "", ago(hours=40, minutes=59), 0),
            ("SCHEDULED", "SENDING", "SCHEDULE", "schedule", "", "", start, 0),
            ("SENDING", "COMPLETED", "RESULT", "sender-eu-2", "", "", end, 0),
        ],
    )
    world.sample(
        number,
        start,
        [(250 + minute % 7 * 5, 1) if not 28 <= minute < 36 else (0, 0) for minute in range(54)],
    )


def _waiting(world: World) -> None:
    ago = world.ago
    world.add(
        "welcome-b",
        "DRAFT",
        display_name="Welcome, second try",
        create_time=ago(hours=3),
        trail=[(None, "DRAFT", "USER", "key:crm-export", "ada@example.com", "", ago(hours=3), 0)],
    )
    world.add(
        "early-access-members-winter-2026",
        "SCHEDULED",
        display_name="Early access for members, winter collection and gift guide",
        total=120_000,
        create_time=ago(hours=2, minutes=30),
        schedule_time=world.now + timedelta(hours=21),
        trail=[
            (None, "DRAFT", "USER", "key:crm-export", "", "", ago(hours=2, minutes=30), 0),
            ("DRAFT", "SCHEDULED", "USER", "key:crm-export", "", "", ago(hours=2, minutes=10), 0),
        ],
    )


def _open(world: World, large: int) -> None:
    ago, done = world.ago, large * 41_288 // 100_000
    world.add(
        "pw-rules-q4",
        "PAUSED",
        display_name="Password rules change",
        channel="sms",
        total=8_000,
        parts=[
            ("sent", 1, 2_210, "", ""),
            ("failed", 2_211, 2_219, "21211", "not a number"),
            ("skipped", 2_220, 2_250, "suppressed", ""),
        ],
        create_time=ago(hours=4),
        start_time=ago(hours=2, minutes=30),
        progress_time=ago(hours=2, minutes=18),
        last_reporter="sender-eu-1",
        trail=[
            (None, "DRAFT", "USER", "key:crm-export", "", "", ago(hours=4), 0),
            ("DRAFT", "SENDING", "USER", "key:crm-export", "", "", ago(hours=2, minutes=30), 0),
            (
                "SENDING",
                "PAUSED",
                "USER",
                "key:ops via dashboard",
                "",
                "wait for legal",
                ago(hours=2, minutes=19),
                0,
            ),
        ],
    )
    number = world.add(
        "digest-2026-w47",
        "SENDING",
        display_name="Weekly digest 47",
        total=large,
        parts=[("sent", 1, done - 1, "", ""), ("failed", done, done, "550", "no such user")],
        create_time=ago(hours=2),
        start_time=ago(hours=1),
        progress_time=ago(seconds=1),
        last_reporter="sender-eu-1",
        trail=[
            (None, "DRAFT", "USER", "key:crm-export", "", "", ago(hours=2), 0),
            ("DRAFT", "SENDING", "USER", "key:crm-export", "", "", ago(hours=1), 0),
        ],
    )
    world.sample(
        number,
        ago(hours=1),
        [(done * 1_655 // 100_000 + minute * 37 % 90, 0) for minute in range(59)],
    )
    world.add(
        "parcel-replay-1125",
        "SENDING",
        display_name="Parcel hook replay",
        channel="webhook",
        total=6_400,
        create_time=ago(minutes=30),
        start_time=ago(minutes=26),
        trail=[
            (None, "DRAFT", "USER", "key:crm-export", "", "", ago(minutes=30), 0),
            ("DRAFT", "SENDING", "USER", "key:crm-export", "", "", ago(minutes=26), 0),
        ],
    )
    _stalled(world)


def _stalled(world: World) -> None:
    ago = world.ago
    start = ago(hours=1, minutes=11)
    number = world.add(
        "renewal-2026-11",
        "SENDING",
        display_name="Autumn renewal notice",
        total=48_200,
        parts=[
            ("sent", 1, 4_443, "", ""),
            ("failed", 4_444, 4_560, "550", "5.1.1 No such mailbox here"),
            ("sent", 12_051, 16_584, "", ""),
            ("failed", 16_585, 16_605, "552", "5.2.2 Mailbox full"),
            (
                "failed",
                16_606,
                16_610,
                "render_error",
                "undefined variable 'contract_end', text template, line 12",
            ),
            ("sent", 24_101, 28_660, "", ""),
            ("sent", 36_151, 40_710, "", ""),
        ],
        labels={"list": "customers", "ticket": "CRM-1182"},
        problems=[problem(world)],
        last_reporter="sender-eu-1",
        create_time=ago(hours=1, minutes=29),
        start_time=start,
        progress_time=ago(minutes=42),
        trail=[
            (None, "DRAFT", "USER", "key:crm-export", "", "", ago(hours=1, minutes=29), 0),
            ("DRAFT", "SENDING", "USER", "key:sender-eu", "", "", start, 0),
            (
                "SENDING",
                "PAUSED",
                "USER",
                "key:ops via dashboard",
                "",
                "subject line is being checked",
                ago(minutes=60),
                0,
            ),
            (
                "PAUSED",
                "SENDING",
                "USER",
                "key:ops via dashboard",
                "ada@example.com",
                "approved",
                ago(minutes=53),
                0,
            ),
        ],
    )
    rates = [(331, 11), (669, 11)] + [(1_000 + minute * 37 % 90, 6) for minute in range(9)]
    rates += (
        [(0, 0)] * 7 + [(344, 4), (706, 9)] + [(950 + minute * 41 % 110, 8) for minute in range(9)]
    )
    world.sample(number, start, rates)


def add_foreign(url: str, now: datetime) -> None:
    """Write campaigns whose every text is hostile, or as long as it may be."""
    world = World(url, now)
    world._campaign = 1_000
    try:
        for campaign_id, text in (
            ("foreign", FOREIGN),
            ("long", "W" * 190),
            ("control", "a\u202eb\x07c"),
        ):
            world.add(
                campaign_id,
                "SENDING",
                display_name=text,
                channel=text[:60],
                total=20,
                parts=[
                    ("failed", 1, 3, text[:60], text * 2),
                    ("unknown", 4, 6, text[:60], text * 2),
                ],
                labels={"list": text[:60]},
                problems=[
                    problem(
                        world, summary=text, detail=text * 2, setting=text[:60], provider=text[:60]
                    )
                ],
                last_reporter=text[:100],
                create_time=world.ago(hours=3),
                start_time=world.ago(hours=2),
                progress_time=world.ago(hours=1),
                trail=[
                    (None, "DRAFT", "USER", text[:100], text[:60], text, world.ago(hours=3), 0),
                    (
                        "DRAFT",
                        "SENDING",
                        "USER",
                        text[:100],
                        text[:60],
                        text,
                        world.ago(hours=2),
                        0,
                    ),
                ],
            )
    finally:
        world.close()


def add_one_that_ends(url: str, now: datetime) -> None:
    """Write a campaign on course, ``ends``, for a test to end."""
    world = World(url, now, before=2_000)
    try:
        world.add(
            "ends",
            "SENDING",
            total=10,
            parts=[("sent", 1, 5, "", "")],
            start_time=world.ago(minutes=1),
            progress_time=world.ago(seconds=3),
            last_reporter="sender-eu-1",
        )
    finally:
        world.close()
