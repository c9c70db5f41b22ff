"""A campaign on its way to the sender: created, its recipients uploaded, started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from closeout.errors import (
    AlreadyExistsError,
    ClientError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from closeout_cli import screen
from closeout_cli.audience_summary import AudienceSummary
from closeout_cli.content_check import refused_content
from closeout_cli.failures import FAILED, USAGE, CommandError
from closeout_cli.options import sender_client, status_client
from closeout_cli.repetition import is_repetition, repetition
from closeout_cli.start_request import StartRequest, check_start, effective, known_campaign
from closeout_cli.started import Started
from closeout_cli.upload_progress import UploadProgress
from closeout_cli.words import state_name

if TYPE_CHECKING:
    from closeout.aio import SenderClient
    from closeout.sender.v1 import sender_pb2
    from closeout_cli.campaign_file import CampaignFile
    from closeout_cli.recipients_file import RecipientsFile


@dataclass(frozen=True)
class Submission:
    """What is to be sent to whom, and when.

    Attributes:
        file: the campaign file.
        audience: its recipients.
        campaign_id: the id of the campaign.
        when: when to start it.
        fields: the fields that the sender checks variables against; None: it checks none.
        status_address: where the status service is.
        sender_address: where the sender service is.
    """

    file: CampaignFile
    audience: RecipientsFile
    campaign_id: str
    when: StartRequest
    fields: tuple[str, ...] | None
    status_address: str
    sender_address: str


@dataclass(frozen=True)
class Submitted:
    """What became of a submission.

    Attributes:
        campaign_id: the campaign.
        created: whether this command created it.
        summary: what became of the rows.
        started: what became of its start.
    """

    campaign_id: str
    created: bool
    summary: AudienceSummary
    started: Started

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        campaign = self.started.campaign
        return {
            "campaign_id": self.campaign_id,
            "created": self.created,
            **self.summary.as_dict(),
            "total": self.started.total,
            "left_out": self.started.left_out,
            "transitioned": self.started.transitioned,
            "state": state_name(campaign) if campaign is not None else "",
            "message": self.started.outcome,
        }


async def submit(submission: Submission, *, quiet: bool = False) -> Submitted:
    """Create the campaign, upload its recipients, and start it; safe to repeat.

    Args:
        submission: what is to be sent.
        quiet: whether to print nothing on the way.

    Raises:
        CommandError: it can't be started so; the text says what to do.
        ClientError: a service refuses or does not answer.
    """
    campaign_id, audience = submission.campaign_id, submission.audience
    before = await known_campaign(campaign_id, submission.status_address)
    check_start(submission.when, before, campaign_id)
    submission = replace(submission, when=effective(submission.when, before))
    async with sender_client(submission.sender_address) as sender:
        created = await create(sender, submission)
        if not quiet:
            how = "created" if created.created else "exists already"
            screen.line(f"campaign {campaign_id}: {how}")
        uploaded = await _upload(sender, submission)
        summary = AudienceSummary.of_upload(audience, uploaded)
        if not uploaded.total:
            raise await _nobody(submission, summary, created=created.created)
        if not quiet:
            summary.show()
        _check_alone(submission, uploaded)
        answer = await _start(sender, submission)
    started = await Started.of(
        campaign_id, submission.when, before, answer, submission.status_address
    )
    return Submitted(campaign_id, created.created, summary, started)


async def create(
    sender: SenderClient,
    submission: Submission,
    *,
    preview_recipient: sender_pb2.Recipient | None = None,
) -> sender_pb2.CreateCampaignResponse:
    """Create the campaign, or, with a recipient, only check it and render a preview.

    Raises:
        CommandError: a template is broken, and the text shows the place; or the id is taken.
        ClientError: the sender refuses or does not answer.
    """
    file = submission.file
    try:
        return await sender.create_campaign(
            campaign_id=submission.campaign_id,
            display_name=file.name,
            channel=file.channel,
            body=file.body,
            options=file.options,
            labels=file.labels,
            family=file.family,
            repeat_after=file.repeat_after,
            recipient_fields=submission.fields,
            validate_only=preview_recipient is not None,
            preview_recipient=preview_recipient,
        )
    except InvalidArgumentError as error:
        if error.reason != "TEMPLATE_INVALID":
            raise
        raise refused_content(file, error) from error
    except AlreadyExistsError as error:
        campaign_id = submission.campaign_id
        raise CommandError(
            f"campaign {campaign_id} exists with other content, options, channel or name; nothing"
            f" was changed or sent. Send {file.path} with another --campaign-id, or without one",
            exit_code=FAILED,
        ) from error


async def _upload(
    sender: SenderClient, submission: Submission
) -> sender_pb2.UploadRecipientsResponse:
    audience = submission.audience
    try:
        with UploadProgress(audience.rows - len(audience.repeated)) as progress:
            return await sender.upload_recipients(
                campaign_id=submission.campaign_id,
                upload_id=audience.digest,
                batches=audience.batches(progress.advance),
            )
    except FailedPreconditionError as error:
        if error.reason != "AUDIENCE_FROZEN":
            raise
        raise CommandError(
            f"campaign {submission.campaign_id} was started with other rows than"
            f" {audience.name} has; nothing was added to it or sent. To go on with it, use the"
            " file it was started with; to send to these people, make another campaign with"
            " another --campaign-id",
            exit_code=FAILED,
        ) from error


def _check_alone(submission: Submission, uploaded: sender_pb2.UploadRecipientsResponse) -> None:
    """Check that the campaign has the people of this file and no others.

    A draft that was not started keeps the rows it got then, also those that were taken
    out of the file since.

    Raises:
        CommandError: it has others; nothing is started.
    """
    if uploaded.total <= uploaded.accepted:
        return
    campaign_id = submission.campaign_id
    raise CommandError(
        f"the draft {campaign_id} has people of another recipients file, from an earlier try;"
        " nothing was sent. Send this file with another --campaign-id;"
        f" closeout cancel {campaign_id} drops the draft",
        exit_code=FAILED,
    )


async def _nobody(
    submission: Submission, summary: AudienceSummary, *, created: bool
) -> CommandError:
    """Return the failure of a campaign without recipients; what was just created is ended."""
    campaign_id = submission.campaign_id
    stays = f"; the draft {campaign_id} stays (closeout cancel {campaign_id} ends it)"
    if created:
        async with status_client(submission.status_address) as status:
            await status.cancel_campaign(campaign_id=campaign_id, reason="nobody it can be sent to")
        stays = "; the campaign was cancelled"
    return nobody(summary, stays)


def nobody(summary: AudienceSummary, then: str = "; nothing was created") -> CommandError:
    """Return the failure of a recipients file without a usable address, with the reasons."""
    return CommandError(
        f"none of the {summary.rows:,} rows of {summary.name} can be sent to{then}."
        " Correct the addresses",
        exit_code=USAGE,
        more=tuple(summary.lines()[1:]),
    )


async def _start(sender: SenderClient, submission: Submission) -> sender_pb2.StartCampaignResponse:
    when = submission.when
    try:
        return await sender.start_campaign(
            campaign_id=submission.campaign_id,
            start_time=when.time,
            start_now=when.now,
            repeat=when.repeat,
        )
    except ClientError as error:
        if not is_repetition(error):
            raise
        raise repetition(error, submission.campaign_id) from error
