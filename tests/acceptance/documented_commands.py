"""What each command of the documents needs, and which of them no test runs, with the reason.

A command that stands in no table here fails test_documented_commands.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """How a command is run, with both services at work unless it says otherwise.

    Attributes:
        campaign: whose id stands for ``ID``: that of a campaign that has ``ended`` with
            one FAILED message, of one that is ``waiting`` for its mail server, or of
            another one that is ``open`` each time.
        code: its exit code.
        stopped: both services are stopped before it.
        serves: it is a service, which goes on until SIGTERM.
    """

    campaign: str = ""
    code: int = 0
    stopped: bool = False
    serves: bool = False


_ENV = "sudo env CLOSEOUT_CONFIG=/etc/closeout/closeout.toml /opt/closeout/bin/closeout "
_GRPCURL = "grpcurl -plaintext -d "
_HTTP = "http://127.0.0.1:20080/v1"
_MARK_COMPLETE = " 127.0.0.1:20051 closeout.status.v1.StatusService/MarkComplete"

#: Commands that a test runs, in this order.
RUNS = {
    "closeout send welcome.toml --recipients people.csv --preview": Run(),
    "closeout send welcome.toml --recipients people.csv --test me@example.com": Run(),
    "closeout send welcome.toml --recipients people.csv --watch": Run(),
    "closeout doctor": Run(),
    "closeout list --state sending | cut -f1": Run(),
    "closeout list --state sending": Run(),
    "closeout explain ID": Run("ended"),
    "closeout status ID": Run("ended"),
    "closeout results ID --outcome failed | cut -f3": Run("ended"),
    "closeout results ID --outcome failed --outcome unknown": Run("ended"),
    "closeout results ID --missing --csv": Run("open"),
    "closeout results ID --missing": Run("open"),
    f"""{_GRPCURL}'{{"campaign_id":"ID","sequences":[17]}}' 127.0.0.1:20052"""
    " closeout.sender.v1.SenderService/BatchGetRecipients": Run("ended"),
    "closeout resend ID --to failed,unsent": Run("ended"),
    "closeout pause ID": Run("open"),
    'closeout cancel ID --reason "wrong subject"': Run("open"),
    'closeout cancel ID --reason "the sender was restored from a backup"': Run("open"),
    'closeout mark-complete ID --reason "checked with the provider"': Run("ended"),
    f"""{_GRPCURL}'{{"campaign_id":"ID"}}'{_MARK_COMPLETE}""": Run("ended"),
    f"""{_GRPCURL}'{{"campaign_id":"ID","reason":"checked with the provider"}}'"""
    f"{_MARK_COMPLETE}": Run("ended"),
    f"curl -fsS -X POST {_HTTP}/campaigns/ID:markComplete": Run("ended"),
    f"""curl -fsS --json '{{"campaignId": "mine", "displayName": "Mine"}}'"""
    f" {_HTTP}/campaigns": Run(),
    f"""curl -fsS --json '{{"total": 2}}' {_HTTP}/campaigns/mine:start""": Run(),
    f"""curl -fsS --json '{{"campaigns": [{{"campaignId": "mine", "results": [{{"sequence": 1,"""
    f""" "outcome": "SENT"}}]}}]}}' {_HTTP}/results:batchReport""": Run(),
    f"curl -fsS {_HTTP}/campaigns/mine/missingRanges": Run(),
    f"""curl -fsS --json '{{"campaigns": [{{"campaignId": "mine", "results": [{{"sequence": 2,"""
    f""" "outcome": "FAILED", "code": "550"}}]}}]}}' {_HTTP}/results:batchReport""": Run(),
    f"curl -fsS {_HTTP}/campaigns/mine": Run(),
    f"curl -fsS '{_HTTP}/campaigns?order=STUCK_FIRST&states=SENDING&states=PAUSED'": Run(),
    f"curl -fsSg '{_HTTP}/campaigns?labels[team]=news&pageSize=10'": Run(),
    f"curl -fsS '{_HTTP}/campaigns/ID/results?outcomes=FAILED'": Run("ended"),
    f"""curl -fsS -H 'if-match: *' --json '{{"reason": "wrong subject"}}'"""
    f" {_HTTP}/campaigns/ID:cancel": Run("open"),
    f"curl -fsSN {_HTTP}/campaigns/ID:watch": Run("ended"),
    'closeout mark-complete ID --force --reason "the sender\'s disk is lost"': Run("open"),
    "sudo install -d /etc/closeout": Run(),
    "sudo install -m 644 deploy/closeout.toml /etc/closeout/closeout.toml": Run(),
    "sudo install -m 600 /dev/null /etc/closeout/sender.env": Run(),
    f"{_ENV}doctor": Run(),
    "protoc -I protos closeout/status/v1/status.proto --java_out=generated": Run(),
    "closeout man --output ~/.local/share/man/man1": Run(),
    f"{_ENV}serve status --check": Run(stopped=True),
    f"{_ENV}serve sender --check": Run(stopped=True),
    "closeout migrate --check": Run(stopped=True),
    "closeout migrate": Run(stopped=True),
    # After these, no caller without a key is served.
    "closeout keys create --admin": Run(stopped=True),
    "closeout keys create --admin --name sender --scope report --scope write --scope service": Run(
        stopped=True
    ),
    "CLOSEOUT_STATUS_DATABASE_URL=sqlite:///data/status.db python -m status_service": Run(
        stopped=True, serves=True
    ),
}

#: The commands that start the services of this test.
STARTS = {"closeout up --data-dir data"}

#: Transcripts of `make demo`.
DEMO = {
    (
        "closeout send examples/welcome.toml --recipients examples/recipients.csv"
        " --campaign-id welcome --watch"
    ),
    "closeout mark-complete withheld",
}
#: Transcripts while the mail server refuses the login.
WITH_A_WRONG_PASSWORD = {"closeout explain welcome-50c659bc": Run("waiting", code=3)}
#: Transcripts after one more recipient was added to the README's people.
WITH_ANOTHER_RECIPIENT = {"closeout send welcome.toml --recipients people.csv --watch": Run(code=1)}

_SYSTEMD = "changes the services of the machine; test_deployment checks the units"
_MACHINE = "changes the machine"
_TESTS = "is this test, or runs it"
#: Commands that no test runs: only their syntax is checked.
NOT_RUN = {
    "make venv": "made what this test runs in",
    "make demo": "is `closeout demo`, which test_wheels runs",
    "make test": _TESTS,
    "make lint": "runs before the tests in .ci/run",
    "make protos": "writes into the clone; test_project compares what it would write",
    ".venv/bin/python -m pytest tests/unit": _TESTS,
    ".venv/bin/python -m pytest tests/integration/test_status_calls.py": _TESTS,
    "pip install closeout": "asks a package index; test_wheels installs the wheel",
    "closeout --install-completion": (
        "changes the shell of its user; test_cli_completion tests what it completes"
    ),
    "man closeout-send": "needs a man program; test_cli_man_pages reads the pages",
    "CLOSEOUT_STATUS_DATABASE_URL=postgresql://closeout@db.example.com/closeout"
    " python -m status_service": "needs that server; test_status_replicas runs it on PostgreSQL",
    **dict.fromkeys(
        [
            "sqlite3 data/status.db \".backup 'status-backup.db'\"",
            "sqlite3 data/sender.db \".backup 'sender-backup.db'\"",
            (
                "sudo sqlite3 /var/lib/closeout-status/status.db"
                " \".backup '/var/backups/closeout-status.db'\""
            ),
            (
                "sudo sqlite3 /var/lib/closeout-sender/sender.db"
                " \".backup '/var/backups/closeout-sender.db'\""
            ),
        ],
        "needs the sqlite3 program; test_restored_status backs up and restores",
    ),
    **dict.fromkeys(
        [
            "sudo python3 -m venv /opt/closeout",
            "sudo /opt/closeout/bin/pip install ./clients/python .",
            "sudo /opt/closeout/bin/pip install --upgrade ./clients/python .",
        ],
        "asks a package index; test_wheels installs both distributions",
    ),
    **dict.fromkeys(
        [
            (
                "sudo install -m 644 deploy/closeout-status.service"
                " deploy/closeout-sender.service /etc/systemd/system/"
            ),
            "sudo systemctl daemon-reload",
            "sudo systemctl enable --now closeout-status closeout-sender",
            "sudo systemctl stop closeout-sender closeout-status",
            "sudo systemctl start closeout-status closeout-sender",
        ],
        _SYSTEMD,
    ),
    **dict.fromkeys(
        [
            "journalctl -u closeout-sender -o cat --since today",
            'journalctl -u closeout-sender -o cat | grep \'"level": "error"\'',
        ],
        "needs the units at work",
    ),
    **dict.fromkeys(
        [
            "sudo nft add rule inet filter input tcp dport 20051 ip saddr 10.0.0.2 accept",
            "sudo nft add rule inet filter input tcp dport { 20051, 20052 } drop",
        ],
        _MACHINE,
    ),
    **dict.fromkeys(
        [
            (
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650"
                ' -subj "/CN=Closeout CA" -keyout ca.key -out ca.crt'
            ),
            (
                "openssl req -x509 -CA ca.crt -CAkey ca.key -newkey ec"
                " -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365"
                ' -subj "/CN=closeout" -addext basicConstraints=critical,CA:FALSE'
                ' -addext "subjectAltName=DNS:localhost,IP:127.0.0.1"'
                " -keyout tls.key -out tls.crt"
            ),
        ],
        "needs the openssl program; test_tls_processes runs it where it is installed",
    ),
    **dict.fromkeys(
        [
            "sudo install -d -m 700 /etc/closeout/tls",
            "sudo install -m 600 tls.key tls.crt /etc/closeout/tls/",
            "sudo install -m 644 ca.crt /etc/closeout/ca.crt",
        ],
        "needs the files of the commands before it",
    ),
    "sudo systemctl edit closeout-status": _SYSTEMD,
    (
        "grpcurl -cacert ca.crt -expand-headers -H 'authorization: Bearer ${CLOSEOUT_API_KEY}'"
        " -d '{}' status.example.com:20051 closeout.status.v1.StatusService/ListCampaigns"
    ): "needs another machine; test_tls_processes makes the call",
    "ssh -L 20051:127.0.0.1:20051 -L 20052:127.0.0.1:20052 server.example.com": (
        "needs another machine"
    ),
}

#: What blocks in ``text`` begin with that show no output of a program.
DRAWINGS = ("  campaign.toml, people.csv ", "          StartCampaign seals the total ")
