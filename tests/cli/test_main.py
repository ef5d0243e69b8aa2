import subprocess
import sys

import pytest

import rased
from rased import cli
from rased.errors import ProblemsFound, RasedError


def test_help_names_every_verb_and_gives_examples(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    for verb in cli.VERBS:
        assert f"\n  {verb} " in said
    assert "examples:\n" in said
    assert cli.main([]) == 0
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_has_help_with_an_example(capsys, verb):
    assert cli.main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"usage: rased {verb}" in said
    assert "examples:\n" in said
    assert f"  rased {verb} " in said or f"  rased {verb}\n" in said


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"rased {rased.__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "unknown verb 'trian'; did you mean 'train'?"),
        (["--vresion"], "unknown argument '--vresion'; did you mean '--version'?"),
        (["enhance", "a.wav", "-o", "b.wav", "--modle", "x"], "--model"),
        (
            ["enhance", "a.wav", "-o", "b.wav", "--model", "x", "--josn"],
            "did you mean '--json' or ",
        ),
        (["enhance"], "the following arguments are required: IN"),
        (["zoo", "lsit"], "'lsit' is not a valid choice; did you mean 'list'?"),
        (["zoo"], "the following arguments are required: VERB (see `rased zoo --help`)"),
    ],
)
def test_wrong_usage_is_one_sentence_with_the_nearest_word(capsys, words, said):
    assert cli.main(words) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1
    assert complaint.startswith("rased: ")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RasedError("give another."), 2, "rased: give another.\n"),
        (ProblemsFound("2 files\nare bad."), 1, "rased: 2 files are bad.\n"),
        (KeyboardInterrupt(), 130, "rased: interrupted\n"),
        (OSError(28, "No space left on device", "x"), 2, "rased: No space left on device 'x'\n"),
        (
            ModuleNotFoundError("no", name="pytorch_lightning.cli"),
            2,
            "rased: this needs the package 'pytorch_lightning': pip install 'rased[train]'\n",
        ),
        (
            ZeroDivisionError("by zero"),
            70,
            "rased: internal error, ZeroDivisionError: by zero (add --debug for the traceback)\n",
        ),
    ],
)
def test_each_kind_of_error_has_its_exit_code_and_a_traceback_on_demand(
    capsys, monkeypatch, error, code, said
):
    def fail(arguments):
        raise error

    monkeypatch.setattr("rased.cli.zoo.run", fail)
    assert cli.main(["zoo", "list"]) == code
    assert capsys.readouterr().err == said
    assert cli.main(["zoo", "--debug", "list"]) == code
    with_traceback = capsys.readouterr().err
    assert with_traceback.startswith("Traceback")
    assert with_traceback.endswith(said)


def test_a_verb_is_imported_only_when_it_is_used():
    code = (
        "import sys; from rased.cli import main; main(['--help']);"
        "bad = {'torch', 'numpy', 'rich', 'rased.cli.zoo'} & set(sys.modules);"
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "rased", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"rased {rased.__version__}\n")


def test_a_reader_that_leaves_early_is_no_error():
    script = f"{sys.executable} -m rased --help | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 141)
    assert done.stderr == ""
