"""``closeout send``: create a campaign, upload its recipients, start it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from closeout_cli import screen
from closeout_cli.campaign_file import CampaignFile, read_campaign_file
from closeout_cli.campaign_ids import derived_id
from closeout_cli.chosen_recipient import address_trouble, chosen_recipient
from closeout_cli.content_check import checked_content
from closeout_cli.failures import INTERRUPTED, OK, USAGE, CommandError, say
from closeout_cli.options import Json, SenderAddress, StatusAddress, run, sender_client
from closeout_cli.preview import check_audience, preview, rendered
from closeout_cli.recipients_file import RecipientsFile, read_recipients_file
from closeout_cli.send_options import (
    AddressColumn,
    Again,
    AllowUnknownVariables,
    CampaignPath,
    Encoding,
    InBrowser,
    KeepCaseDuplicates,
    Kind,
    NewId,
    Now,
    OnlyNew,
    PreviewOnly,
    RecipientsPath,
    Shown,
    StartTime,
    TestAddresses,
    Watch,
    check_options,
)
from closeout_cli.start_request import StartRequest
from closeout_cli.submission import Submission, create, nobody, submit
from closeout_cli.trial import send_test
from closeout_cli.watch import followed

if TYPE_CHECKING:
    from sender_service.channels.offline import OfflineContent

#: So many names of fields the sender takes.
_MAX_FIELDS = 1000


def send(
    *,
    campaign: CampaignPath,
    recipients: RecipientsPath,
    watch: Watch = False,
    preview_only: PreviewOnly = False,
    test: TestAddresses = None,
    recipient: Shown = "",
    in_browser: InBrowser = False,
    start_time: StartTime = "",
    now: Now = False,
    only_new: OnlyNew = False,
    again: Again = False,
    campaign_id: NewId = "",
    address_column: AddressColumn = "",
    encoding: Encoding = "",
    kind: Kind = None,
    keep_case_duplicates: KeepCaseDuplicates = False,
    allow_unknown_variables: AllowUnknownVariables = False,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Send a campaign to the recipients of a file.

    Safe to repeat: the same command again goes on where it stopped. Changed files are
    another campaign, which is refused while it would go to people who got the earlier
    one within a week.
    """
    check_options(
        preview_only=preview_only, test=test, watch=watch, in_browser=in_browser, wanted=recipient
    )
    file = read_campaign_file(campaign)
    audience = read_recipients_file(
        recipients,
        address_column=address_column,
        encoding=encoding,
        kind=kind.value if kind else "",
        keep_case_duplicates=keep_case_duplicates,
    )
    for notice in audience.notices:
        say(notice)
    if not audience.rows:
        raise CommandError(f"{audience.name}: no recipients below its header", exit_code=USAGE)
    checked = _Checked(
        file, audience, checked_content(file, audience, allow_unknown=allow_unknown_variables)
    )
    submission = Submission(
        file,
        audience,
        campaign_id or derived_id(file, audience),
        StartRequest.of(start_time, now=now, only_new=only_new, again=again),
        None if allow_unknown_variables else checked.fields,
        status_address,
        sender_address,
    )
    if preview_only:
        return _preview(
            checked, submission, wanted=recipient, in_browser=in_browser, as_json=as_json
        )
    if test:
        return _test(checked, submission, test, wanted=recipient, as_json=as_json)
    checked.check_addresses()
    return _send(submission, watch=watch, as_json=as_json)


class _Checked(NamedTuple):
    """Both files, and the content as far as it can be compiled here."""

    file: CampaignFile
    audience: RecipientsFile
    content: OfflineContent | None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields for the sender's check of variables, no more than it takes."""
        fields = self.audience.fields
        if len(fields) <= _MAX_FIELDS or self.content is None:
            return fields
        return tuple(name for name in fields if name in self.content.variables)

    def check_addresses(self) -> None:
        """Check, before anything is created, that there is somebody to send to.

        Raises:
            CommandError: no address of the file can be used; the text has the reasons.
        """
        content = self.content
        if content is None:
            return
        if any(not address_trouble(content, text) for _, text in self.audience.records.addresses()):
            return
        raise nobody(check_audience(self.audience, content).summary)


def _preview(
    checked: _Checked, submission: Submission, *, wanted: str, in_browser: bool, as_json: bool
) -> int:
    if checked.content is None:
        return run(_preview_of_sender(submission, wanted))
    preview(
        checked.file,
        checked.audience,
        checked.content,
        wanted=wanted,
        in_browser=in_browser,
        as_json=as_json,
    )
    return OK


async def _preview_of_sender(submission: Submission, wanted: str) -> int:
    """Print the preview of a channel that only its sender knows."""
    chosen = chosen_recipient(submission.audience, wanted)
    async with sender_client(submission.sender_address) as sender:
        answer = await create(sender, submission, preview_recipient=chosen.recipient)
    for line in answer.preview.splitlines():
        screen.line(line)
    return OK


def _test(
    checked: _Checked, submission: Submission, addresses: list[str], *, wanted: str, as_json: bool
) -> int:
    chosen = chosen_recipient(checked.audience, wanted, checked.content)
    if checked.content is not None:
        rendered(checked.file, checked.content, chosen)
    return run(
        send_test(
            checked.file,
            chosen,
            addresses,
            submission.sender_address,
            fields=submission.fields,
            as_json=as_json,
        )
    )


def _send(submission: Submission, *, watch: bool, as_json: bool) -> int:
    campaign_id = submission.campaign_id
    try:
        submitted = run(submit(submission, quiet=as_json))
    except KeyboardInterrupt:
        say(
            f"interrupted: the same command again goes on with campaign {campaign_id} where it"
            f" stopped; closeout cancel {campaign_id} ends it"
        )
        return INTERRUPTED
    if as_json and watch:
        screen.print_event("started", submitted.as_dict())
    elif as_json:
        screen.print_json(submitted.as_dict())
    else:
        for line in submitted.started.lines():
            screen.line(line)
    if watch:
        return followed(
            campaign_id, submission.status_address, submission.sender_address, as_json=as_json
        )
    if not as_json:
        for line in submitted.started.next_steps():
            screen.line(line)
    return OK
