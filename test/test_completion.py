"""The Tab key in a real bash, after `eval "$(aenet completion bash)"`."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("argcomplete", reason="completion needs argcomplete (apt install python3-argcomplete)")
if shutil.which("bash") is None:
    pytest.skip("bash is not installed", allow_module_level=True)

CHECKOUT = Path(__file__).resolve().parents[1]
HARD_LIMIT_S = 90


@pytest.fixture
def bash(tmp_path):
    """Type into an interactive bash that completes: a function from keys and words to wait for to what was shown."""
    program = tmp_path / "bin" / "aenet"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom aenet_ros.cli.main import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    )
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(CHECKOUT), "PS1": "$ ", "TERM": "dumb"}
    ours, theirs = pty.openpty()
    command = ["bash", "--norc", "--noprofile", "-i"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=tmp_path, start_new_session=True)
    os.close(theirs)

    def shows(keys, words):
        os.write(ours, keys.encode())
        shown, give_up = "", time.monotonic() + HARD_LIMIT_S
        while words not in shown:
            assert time.monotonic() < give_up, shown
            if select.select([ours], [], [], 0.2)[0]:
                shown += os.read(ours, 65536).decode(errors="replace")
        return shown

    shows('eval "$(aenet completion bash)"; echo "re""ady"\n', "ready")
    yield shows
    process.kill()
    process.wait()
    os.close(ours)


def test_commands_options_and_choices(bash):
    bash("aenet ins\t", "aenet inspect ")
    bash("--thermal-t\t", "--thermal-topic ")
    bash("\x15aenet fuse --panels the\t", "--panels thermal ")
    bash("\x15aenet fuse --set sync.slop\t", "sync.slop_ms")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script(shell):
    command = [sys.executable, "-m", "aenet_ros", "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HARD_LIMIT_S, check=True)
    assert "aenet" in done.stdout
    assert "_ARGCOMPLETE" in done.stdout


def test_starting_aenet_does_not_load_it():
    code = "import sys, aenet_ros.cli.main as c; c._parser(c.load(c.COMMANDS)); print('argcomplete' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HARD_LIMIT_S, check=True)
    assert done.stdout.strip() == "False"


def test_without_argcomplete_it_says_so():
    code = "import sys; sys.modules['argcomplete'] = None; from aenet_ros.cli.main import main; sys.exit(main(['completion', 'bash']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HARD_LIMIT_S, check=False)
    assert done.returncode == 1
    assert "apt install python3-argcomplete" in done.stderr
