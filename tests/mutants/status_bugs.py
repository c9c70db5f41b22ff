"""Bugs of the status service: wrong completion, wrong repair."""

from __future__ import annotations

from mutants.load_bugs import LOAD_BUGS
from mutants.mutant import Edit, Mutant
from mutants.problem_bugs import PROBLEM_BUGS

_LEDGER = "status_service/recording/ledger.py"
_COMPLETION = "status_service/recording/completion.py"
_CAMPAIGNS = "status_service/campaigns/lifecycle.py"
_BY_HAND = "status_service/campaigns/mark_complete.py"
_WRITER = "status_service/recording/recorder.py"
_FIRST_VERSION = "status_service/migrations/versions/v0001_ledger.py"

_CALLS = "tests/integration/test_status_calls.py"
_SCHEDULES = "tests/integration/test_status_schedules.py"
_STREAMS = "tests/integration/test_status_streams.py"
_PROPERTIES = "tests/integration/test_status_properties.py"
_REPLICAS = "tests/integration/test_status_replicas.py"
_REPAIR = "tests/integration/test_status_repair.py"

COMPLETION_BUGS = (
    Mutant(
        name="count-misses-rows",
        invariant="L1",
        bug="Completion is decided by a `count(*)` that does not see the last results.",
        seen="rails/solid_queue PR #142",
        edits=(
            Edit(
                _LEDGER,
                "            drifts[key] = known.drift\n",
                "            drifts[key] = known.drift.minus(merged.deltas)\n",
            ),
        ),
        test=f"{_STREAMS}::test_s8_acknowledgements_are_cumulative_and_never_go_down",
    ),
    Mutant(
        name="completion-afterwards",
        invariant="S4",
        bug="The last result commits first, and a second transaction completes the campaign.",
        seen="listmonk `pipe.go`, laravel/horizon #1512",
        edits=(
            Edit(
                _COMPLETION,
                "    full = sa.and_(\n",
                "    full = sa.and_(\n        sa.bindparam('repair', type_=sa.Integer) == 1,\n",
            ),
            Edit(
                _COMPLETION,
                '            "now": now,\n',
                '            "now": now,\n            "repair": cause.value != "RESULT",\n',
            ),
            Edit(
                _WRITER,
                "recorded = await self._store.write(_traced(work, frames, origins))\n",
                "recorded = await self._store.write(_traced(work, frames, origins))\n"
                "                for change in recorded.changes:\n"
                "                    await self._store.write(\n"
                "                        lambda c, key=change.key: ledger.settle(\n"
                "                            c, (row := ledger.lock_one(c, key)),\n"
                "                            type(change.counters)(), now=row.now,\n"
                "                            cause=ledger.Cause.USER, actor=''\n"
                "                        )\n"
                "                    )\n",
            ),
        ),
        test=f"{_PROPERTIES}::test_s2_every_merge_of_up_to_three_results",
    ),
    Mutant(
        name="equal-is-jumped-over",
        invariant="S3",
        bug="Full is `==` and not `>=`: a counter that is too high is never looked at again.",
        seen="laravel/framework #38139, useplunk/plunk #348",
        edits=(
            Edit(
                "status_service/recording/counting.py",
                "is_terminal and processed >= campaign.total",
                "is_terminal and processed == campaign.total",
            ),
        ),
        test=f"{_REPAIR}::test_s3_a_counter_that_is_too_high_completes_nothing",
    ),
    Mutant(
        name="total-is-what-was-seen",
        invariant="S3",
        bug="A campaign that nobody sealed takes results, and completes with the first of them.",
        seen="breamware/sidekiq-batch #20, zoolutions/pgbus PR #417",
        edits=(
            Edit(
                _LEDGER,
                "    refuse(connection, by_campaign, locked, look_for_busy=skip_busy)\n",
                "    for key, campaign in locked.items():\n"
                "        if campaign.state == 'DRAFT':\n"
                "            seen = [n for frame, _ in by_campaign[key]"
                " for n in frame.results.sequence]\n"
                "            locked[key] = connection.execute(\n"
                "                sa.update(campaigns)\n"
                "                .where(campaigns.c.campaign == campaign.campaign)\n"
                "                .values(total=max(seen, default=1), state='SENDING')\n"
                "                .returning(campaigns, database_now().label('now'))\n"
                "            ).one()\n"
                "    refuse(connection, by_campaign, locked, look_for_busy=skip_busy)\n",
            ),
        ),
        test=f"{_STREAMS}::test_a_frame_that_can_not_be_applied_leaves_the_others_alone",
    ),
    Mutant(
        name="total-is-lowered",
        invariant="S3",
        bug="Starting again with a lower total moves the end of a campaign that is being sent.",
        seen="putyourlightson/craft-campaign #505",
        edits=(
            Edit(
                _CAMPAIGNS,
                "            raise CampaignSealedError("
                "campaign_id, sealed=campaign.total, given=order.total)\n",
                "            after = connection.execute(\n"
                "                sa.update(campaigns)\n"
                "                .where(campaigns.c.campaign == campaign.campaign)\n"
                "                .values(total=order.total)\n"
                "                .returning(campaigns)\n"
                "            ).one()\n"
                "            return Changed(after, transitioned=False, before=campaign)\n",
            ),
        ),
        test=f"{_CALLS}::test_another_total_than_the_sealed_one_is_refused",
    ),
    Mutant(
        name="paused-never-completes",
        invariant="L1",
        bug="The last results of what was in flight leave a paused campaign open for ever.",
        seen="knadh/listmonk #905, #1433",
        edits=(Edit("status_service/domain.py", "        (State.PAUSED, State.COMPLETED),\n", ""),),
        test=f"{_CALLS}::test_l1_a_paused_campaign_completes_with_its_last_result",
    ),
    Mutant(
        name="state-is-recomputed",
        invariant="S6",
        bug="A late result sets a COMPLETED campaign back to SENDING.",
        seen="Netflix/conductor PR #1664",
        edits=(Edit(_COMPLETION, "else_=columns.state)", "else_=State.SENDING.value)"),),
        test=f"{_CALLS}::test_s5_a_better_result_after_completion_corrects_counters_and_nothing_else",
    ),
    Mutant(
        name="two-events",
        invariant="S4",
        bug="What comes after a completion is announced as another completion.",
        seen="sidekiq/sidekiq #6852, bensheldon/good_job #832",
        edits=(
            Edit(
                _COMPLETION,
                "    if after.state != campaign.state:\n        write_transition(",
                "    if State(after.state) is State.COMPLETED:\n        write_transition(",
            ),
            Edit(_FIRST_VERSION, "        unique=True,\n", ""),
        ),
        test=f"{_CALLS}::test_s5_a_better_result_after_completion_corrects_counters_and_nothing_else",
    ),
    Mutant(
        name="clock-before-lock",
        invariant="S5",
        bug="A transaction takes the time at which it asked for its locks for that of its writes.",
        seen="recipes with PostgreSQL's `now()`, which stands still while a transaction runs",
        edits=(
            Edit(
                _LEDGER,
                '    return sa.select(locked.cte("locked"), database_now().label("now"))\n',
                '    return locked.add_columns(database_now().label("now"))\n',
            ),
        ),
        test=f"{_REPLICAS}::test_s5_the_time_of_a_transaction_is_read_when_it_has_its_locks",
    ),
    Mutant(
        name="transition-by-id-only",
        invariant="S6",
        bug="A change of state updates the row whatever state it is in by then.",
        seen="listmonk's status call, triggerdotdev #4397",
        edits=(
            Edit(
                _CAMPAIGNS,
                "    if state not in sources(target) or (",
                "    if target is State.DRAFT and (",
            ),
            Edit(
                _CAMPAIGNS,
                "            campaigns.c.state == campaign.state,\n"
                "            campaigns.c.state.in_(sources(target)),\n",
                "",
            ),
        ),
        test=f"{_CALLS}::test_s6_nothing_leads_out_of_completed",
    ),
    Mutant(
        name="repeat-starts-early",
        invariant="API",
        bug="A start that is repeated, without the time, sends a scheduled campaign at once.",
        seen="Closeout itself, before its contract was fixed",
        edits=(
            Edit(
                "status_service/domain.py",
                "(state is State.SCHEDULED and (other_time or start_now))",
                "(state is State.SCHEDULED and (other_time or start_time is None))",
            ),
        ),
        test=f"{_SCHEDULES}::test_s17_a_repeated_start_never_sends_a_scheduled_campaign_early",
    ),
)

REPAIR_BUGS = (
    Mutant(
        name="mark-complete-trusts-counters",
        invariant="S3",
        bug="MarkComplete looks at the counters, and not at the results.",
        seen="Billionmail/BillionMail #368",
        edits=(
            Edit(
                _BY_HAND,
                "    if known.counted.processed < campaign.total and not force:\n",
                "    known = known._replace(counted=known.counters)\n"
                "    if known.counted.processed < campaign.total and not force:\n",
            ),
        ),
        test=f"{_REPAIR}::test_s3_mark_complete_is_not_deceived_by_counters",
    ),
    Mutant(
        name="forced-is-sent",
        invariant="S1",
        bug="A completion by force counts what is missing as sent.",
        seen="dub #4351",
        edits=(
            Edit(
                _BY_HAND,
                "missing, outcome=Outcome.UNKNOWN, code",
                "missing, outcome=Outcome.SENT, code",
            ),
        ),
        test="tests/integration/test_status_mark_complete.py"
        "::test_s1_force_makes_what_is_missing_unknown_and_nothing_sent",
    ),
    Mutant(
        name="stalled-by-age",
        invariant="API",
        bug="A campaign counts as stalled by its age, however lively it is.",
        seen="cds-snc/notification-api #1912, GSA/notifications-api #1506",
        edits=(
            Edit(
                "status_service/domain.py",
                "now - max(start_time, progress_time or start_time)",
                "now - start_time",
            ),
        ),
        test=f"{_REPAIR}::test_a_slow_campaign_that_lives_is_left_alone",
    ),
    Mutant(
        name="completed-at-the-repair",
        invariant="S5",
        bug="A repair writes a new time of completion over the one there was.",
        seen="cds-snc/notification-api #1940",
        edits=(
            Edit(
                _COMPLETION,
                "sa.func.coalesce(columns.complete_time, now)",
                "sa.func.coalesce(sa.null(), now)",
            ),
        ),
        test=f"{_REPAIR}::test_s5_a_campaign_set_back_by_hand_keeps_its_time",
    ),
)

CONNECTION_BUGS = (
    Mutant(
        name="option-that-grpc-does-not-know",
        invariant="API",
        bug="The server's limit for pings has a wrong name, so idle streams are cut off.",
        seen="Closeout itself, before the names were compared with the library",
        edits=(
            Edit(
                "service_runtime/grpc_server.py",
                "grpc.http2.min_ping_interval_without_data_ms",
                "grpc.http2.min_recv_ping_interval_without_data_ms",
            ),
        ),
        test="tests/unit/test_runtime_grpc_options.py::test_grpc_knows_each_option_that_is_set",
    ),
    Mutant(
        name="wrong-url-is-shown",
        invariant="API",
        bug="A URL of a database that lacks a colon is printed at the start, with its password.",
        seen="Closeout itself, in a review; CWE-532, secrets in logs",
        edits=(
            Edit(
                "service_runtime/database_url.py",
                '            "this is not a database URL, as in',
                '            f"{url!r} is not a database URL, as in',
            ),
        ),
        test="tests/unit/test_runtime_secrets.py::test_no_mistake_about_a_setting_shows_a_secret",
    ),
)

STATUS_BUGS = COMPLETION_BUGS + REPAIR_BUGS + CONNECTION_BUGS + PROBLEM_BUGS + LOAD_BUGS
