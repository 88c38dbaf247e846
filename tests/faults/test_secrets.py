"""Secrets given by configuration, command line, environment or address: in no file, and in no line that is said."""

import base64
import io
import re
import subprocess
import zipfile
from pathlib import Path
from urllib.parse import quote

import forking
import pytest
import yaml
from campaign import run_campaign

HEX, WORD = "0123456789abcdef" * 2, "Zq7VbN2xKt5RwPm9LcD3"
ENVIRONMENT = {
    "WANDB_API_KEY": HEX + "00000001",
    "HF_TOKEN": f"hf_{WORD}environment1",
    "AWS_SECRET_ACCESS_KEY": f"wJalr/K7MDENG+bPxRfi{WORD}aws",
    "AWS_SESSION_TOKEN": f"FwoGZXIvYXdz/{WORD}session",
    "MY_DATABASE_PASSWORD": f"correct-horse-{WORD}database",
    "AZURE_STORAGE_ACCOUNT_KEY": f"{WORD}azure==",
    "DEPLOY_PRIVATE_KEY": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{WORD}openssh\n-----END OPENSSH PRIVATE KEY-----",
    "https_proxy": f"http://user:{WORD}proxy@127.0.0.1:9",
}
"""Variables of every run."""
FILES = {"netrc": f"{WORD}netrc", "git remote": f"ghp_{WORD}gitremote1234"}
"""Beside the run: the home folder's .netrc, and the repository that it is started in."""
CONFIG = {
    "key of a mapping": {"api_key": f"{WORD}configkey"},
    "nested key": {"service": {"client_secret": f"{WORD}confignested"}},
    "address with a password": {"source": f"https://user:a@{WORD}configurl@host.invalid/set"},
    "signed address": {"source": f"https://bucket.invalid/x.tar?X-Amz-Expires=9&X-Amz-Signature={WORD}signature"},
    "header": {"header": f"Authorization: Bearer {WORD}bearer"},
    "by its shape": {"remark": f"made with xoxb-{WORD}slack"},
    "read from the environment": {"remark": "${oc.env:HF_TOKEN}"},
}
"""What a configuration tells W&B of a run."""
ARGV = {
    "name of the run": f"--trainer.logger.init_args.name=sk-{WORD}argvname",
    "folder with a token": f"--trainer.logger.init_args.project=token={WORD}argvproject",
}
REFUSED = {
    "address of a set": f"--data.path=https://user:{WORD}datapath@host.invalid/set",
    "address of an encoder": f"--model.encoder.name=https://host.invalid/e.safetensors?token={WORD}encoder",
    "address of a checkpoint": f"--ckpt_path=s3://bucket/a.ckpt?AWSAccessKeyId=A&Signature={WORD}checkpoint",
    "unknown option": f"--trainer.logger.init_args.password={WORD}unknown",
    "address of a configuration": f"--config=https://user:{WORD}remote@host.invalid/c.yaml",
    "value of a number": f"--model.lr=hf_{WORD}number1234",
}
"""Words that are refused; the error may quote them."""


def secret_of(text):
    """The part of a text that tells it from all others."""
    (found,) = re.findall(rf"(?:{WORD}|{HEX})\w+", text)
    return found


def forms(secret):
    """A secret as it is, as in an address, and as base64."""
    return {secret.encode(), quote(secret, safe="").encode(), base64.b64encode(secret.encode()).rstrip(b"=")}


def contents(folder):
    """Name and bytes of all files; of archives also of what is in them."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        yield path.name, path.name.encode() + content
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                yield from ((f"{path.name}/{name}", archive.read(name)) for name in archive.namelist())


@pytest.fixture(scope="module")
def outputs(place, scenes):
    """What runs with all these secrets wrote and said: name and bytes."""
    folder = place / "secrets"
    home, repository, out = folder / "home", folder / "repository", folder / "out"
    for path in (home, repository, out):
        path.mkdir(parents=True)
    (home / ".netrc").write_text(f"machine api.wandb.ai login user password {FILES['netrc']}\n")
    remote = f"https://x-access-token:{FILES['git remote']}@github.com/o/r.git"
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    subprocess.run(["git", "remote", "add", "origin", remote], cwd=repository, check=True)
    told = {name.replace(" ", "_"): value for name, value in CONFIG.items()}
    logger = {"class_path": "WandbLogger", "init_args": {"offline": True}, "dict_kwargs": {"config": told}}
    logger["dict_kwargs"]["notes"] = f"https://user:a/{WORD}notes@host.invalid"
    config = folder / "own.yaml"
    config.write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    base = [*scenes["tested"].words, f"--config={config}"]
    environment = {**ENVIRONMENT, "HOME": str(home), "TMPDIR": str(out), "WANDB_MODE": "offline"}
    found = []

    def run(words, code):
        child = forking.start(words, env=environment, cwd=repository)
        assert child.wait(180) == code, child.said()[-3000:]
        found.extend((f"what `{words[0]}` said", path.read_bytes()) for path in (child.stdout, child.stderr))

    run([*base, *ARGV.values(), f"--out={out / 'run'}"], 0)
    assert list((out / "run").rglob("*.wandb")), found[-1]
    run(["mirror", str(out / "run"), "--offline", f"--out={out / 'mirrored'}"], 0)
    run(["predict", base[2].partition("=")[2], "--run", str(out / "run"), f"--out={out / 'scores.csv'}"], 0)
    run(["doctor", "--json"], 0)
    for number, word in enumerate(REFUSED.values()):
        before = len(found)
        child = forking.start([*base, word, f"--out={out / f'refused-{number}'}"], env=environment, cwd=repository)
        assert child.wait(60) in (2, 65, 66), (word, child.said()[-2000:])
        found.extend(
            (f"what is said to {word.partition('=')[0]}", path.read_bytes()) for path in (child.stdout, child.stderr)
        )
        assert any(b"error:" in content for _, content in found[before:])
    return [*found, *contents(out), *contents(repository / "wandb")]


def canaries():
    """All secrets by where they are given; 25 of them."""
    given = {f"environment {name}": value for name, value in ENVIRONMENT.items()}
    given |= {f"file {name}": value for name, value in FILES.items()}
    given |= {f"configuration, {name}": str(value) for name, value in CONFIG.items() if "${" not in str(value)}
    given["configuration, notes"] = f"{WORD}notes"
    given |= {f"command line, {name}": value for name, value in ARGV.items()}
    return given | {f"refused, {name}": value for name, value in REFUSED.items()}


def test_secrets_are_in_no_output(outputs, full):
    given = canaries()
    assert len(given) == 25

    def run(trial):
        secret = secret_of(given[trial])
        places = [name for name, content in outputs if any(form in content for form in forms(secret))]
        return {"ok": not places, "found": sorted(set(places))[:10], "length": len(secret)}

    tally = run_campaign("secrets", list(given), run, full=full)
    assert tally.failed == []


def test_no_face_is_among_what_is_sent(outputs, scenes):
    """W&B's files hold no image but the drawn diagrams."""
    sent = [(name, content) for name, content in outputs if name.endswith(".wandb")]
    assert sent
    assert not [name for name, content in sent if b"\xff\xd8\xff" in content or b"\x89PNG" in content]
    names = {Path(name).suffix for name, _ in outputs}
    assert not {".jpg", ".jpeg", ".webp"} & names
