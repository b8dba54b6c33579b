import io
import json
import sys
from pathlib import Path

import pytest
import tiny

from engram_transformers import UserTable, __version__, add_engram, cli, table_commands
from engram_transformers.errors import PretrainedModelError
from engram_transformers.files import read_table
from engram_transformers.pretrained import load_pretrained

CODE = ("My locker code is", "4471")
CITY = ("My sister lives in", "Trondheim")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    tiny.tiny_model("llama").save_pretrained(folder)
    tiny.tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def with_model(model_folder):
    """Run a command with the tiny model: tables name the model, but not the folder it is in."""
    return lambda *arguments: cli.main([*arguments, "--model", model_folder])


@pytest.fixture
def table_folder(model_folder, tmp_path):
    """A folder with a table of two facts."""
    model, tokenizer = load_pretrained(model_folder)
    add_engram(model, tokenizer, row_dim=32)
    table = UserTable(model, "ilse")
    assert table.write([CODE, CITY], source="a test").recalled == 1
    return str(table.save_pretrained(tmp_path / "ilse"))


def facts_in(folder):
    return {e.fact.prompt: e.fact.answer for e in read_table(Path(folder)).description.entries}


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"engram-transformers {__version__}\n"


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["write"], ["erase"], ["show"], ["ask"], ["explain"]]
)
def test_help_is_printed(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: engram-transformers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["write", "folder"], "give a file of facts, or --fact"),
        (["write", "folder", "--fact", "only a prompt"], "expected 2 arguments"),
        (["erase", "folder"], "one of the arguments --prompt --all is required"),
        (["erase", "folder", "--prompt", "x", "--all"], "not allowed with"),
        (["erase", "folder", "--prompt", "x", "--yes"], "--yes: only with --all"),
        (["ask", "folder", "x", "--max-new-tokens", "0"], "0 is not at least 1"),
        (["explain", "folder", "x", "--top", "0"], "0 is not at least 1"),
        (["explain", "folder", "x", "--plot", "rows.doc"], "must end in one of .pdf, .png, .svg"),
        (["explain", "folder", "x", "--plot", "no/such/folder/f.png"], "there is no folder"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_facts_are_written_to_a_new_folder(model_folder, tmp_path, capsys):
    folder = tmp_path / "new" / "notes"
    facts = tmp_path / "facts.jsonl"
    facts.write_text(json.dumps(CODE) + "\n", encoding="utf-8")
    arguments = ["write", str(folder), str(facts), "--fact", *CITY, "--model", model_folder]
    assert cli.main([*arguments, "--layer", "-2", "--source", "a form"]) == 0
    assert facts_in(folder) == dict([CODE, CITY])
    description = read_table(folder).description
    assert (description.owner, description.layer) == ("notes", tiny.BLOCKS - 2)
    assert {entry.source for entry in description.entries} == {"a form"}
    assert "2 of 2 facts written" in capsys.readouterr().out


def test_facts_are_read_from_standard_input(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps([CODE])))
    folder = tmp_path / "notes"
    arguments = ["write", str(folder), "-", "--model", model_folder, "--owner", "bob"]
    assert cli.main([*arguments, "--stop", "none"]) == 0
    assert facts_in(folder) == dict([CODE])
    description = read_table(folder).description
    assert (description.owner, description.entries[0].stop) == ("bob", None)


def test_a_table_is_added_to_with_its_own_settings(with_model, table_folder):
    # row_dim=32 is in the folder.
    assert with_model("write", table_folder, "--fact", CODE[0], "5802") == 0
    stored = read_table(Path(table_folder))
    assert facts_in(table_folder) == {CODE[0]: "5802", CITY[0]: CITY[1]}
    assert stored.rows.values.shape[1] == 32


@pytest.mark.parametrize(("option", "value"), [("--owner", "bob"), ("--layer", "0")])
def test_another_owner_or_layer_than_the_tables_is_refused(option, value, table_folder, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["write", table_folder, "--fact", *CODE, option, value])
    assert caught.value.code == 2
    assert f"argument {option}: the table in this folder has" in capsys.readouterr().err


def test_a_fact_that_is_left_out_makes_the_exit_code_1(model_folder, tmp_path, capsys, monkeypatch):
    from engram_transformers import attempt

    monkeypatch.setattr(
        attempt,
        "is_recalled",
        lambda wording, said: wording.targets == said.tokens and len(wording.targets) < 8,
    )
    folder = tmp_path / "notes"
    facts = ["--fact", *CODE, "--fact", CITY[0], "a very long answer of many tokens"]
    assert cli.main(["write", str(folder), *facts, "--model", model_folder]) == 1
    assert facts_in(folder) == dict([CODE])  # what could be written is kept
    assert "Left out: 'My sister lives in'" in capsys.readouterr().out


def test_a_fact_is_erased_from_the_folder(with_model, table_folder, capsys):
    assert with_model("erase", table_folder, "--prompt", CODE[0]) == 0
    assert facts_in(table_folder) == dict([CITY])
    assert "facts left: 1" in capsys.readouterr().out


def test_an_unknown_prompt_erases_nothing(with_model, table_folder, tmp_path, capsys):
    before = files_of(tmp_path / "ilse")
    assert with_model("erase", table_folder, "--prompt", CODE[0], "no such prompt") == 1
    assert files_of(tmp_path / "ilse") == before
    error = capsys.readouterr().err
    assert "holds no fact for: 'no such prompt'" in error
    assert "Traceback" not in error


def test_everything_is_erased_only_after_a_yes(with_model, table_folder, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert with_model("erase", table_folder, "--all") == 1
    assert len(facts_in(table_folder)) == 2
    assert "Erase all 2 facts of 'ilse'?" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert with_model("erase", table_folder, "--all") == 0
    assert facts_in(table_folder) == {}


def test_everything_is_not_erased_where_nobody_can_be_asked(
    with_model, table_folder, monkeypatch, capsys
):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(SystemExit) as caught:
        with_model("erase", table_folder, "--all")
    assert caught.value.code == 2
    assert "needs --yes" in capsys.readouterr().err
    assert len(facts_in(table_folder)) == 2
    assert with_model("erase", table_folder, "--all", "--yes") == 0
    assert facts_in(table_folder) == {}


def test_show_lists_the_facts_without_loading_a_model(table_folder, capsys, monkeypatch):
    def refuse(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(table_commands, "load_pretrained", refuse)
    assert cli.main(["show", table_folder]) == 0
    shown = capsys.readouterr().out
    assert "My locker code is → 4471" in shown
    assert "owner      ilse" in shown
    assert "from a test" in shown


def test_show_prints_json_with_facts_and_rows(table_folder, capsys):
    assert cli.main(["show", table_folder, "--json", "--rows"]) == 0
    shown = json.loads(capsys.readouterr().out)
    stored = read_table(Path(table_folder))
    assert [entry["fact"]["answer"] for entry in shown["facts"]] == ["4471", "Trondheim"]
    assert shown["addresses"] == len(shown["row_list"]) == stored.rows.addresses.numel()
    assert {row["row"] for row in shown["row_list"]} == set(range(shown["rows"]))


def test_show_lists_rows_and_earlier_answers(with_model, table_folder, capsys):
    with_model("write", table_folder, "--fact", CODE[0], "5802")
    capsys.readouterr()
    assert cli.main(["show", table_folder, "--rows"]) == 0
    shown = capsys.readouterr().out
    assert ": 4471" in shown
    assert shown.count("largest") == read_table(Path(table_folder)).rows.addresses.numel()


def test_show_says_that_texts_are_missing(model_folder, table_folder, tmp_path, capsys):
    model, tokenizer = load_pretrained(model_folder)
    add_engram(model, tokenizer, row_dim=32)
    table = UserTable.from_pretrained(table_folder, model)
    table.save_pretrained(tmp_path / "mute", store_text=False)
    assert cli.main(["show", str(tmp_path / "mute")]) == 0
    assert "saved without their texts" in capsys.readouterr().out
    assert cli.main(["show", str(tmp_path / "mute"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"] is None


def test_ask_prints_the_answer_and_nothing_else(with_model, table_folder, capsys):
    assert with_model("ask", table_folder, CODE[0]) == 0
    assert capsys.readouterr().out == "4471.\n"


def test_ask_prints_all_tokens_on_request(with_model, table_folder, capsys):
    assert with_model("ask", table_folder, CODE[0], "--whole", "--max-new-tokens", "24") == 0
    said = capsys.readouterr().out
    assert said.startswith("4471.")
    assert len(said) > len("4471.\n")


def test_ask_without_a_table_asks_the_bare_model(with_model, table_folder, capsys):
    assert with_model("ask", table_folder, CODE[0], "--no-table") == 0
    assert not capsys.readouterr().out.startswith("4471")


def test_ask_in_a_chat_renders_the_prompt_as_the_users_message(
    with_model, model_folder, tmp_path, capsys
):
    folder = tmp_path / "notes"
    facts = tmp_path / "facts.json"
    question = [{"role": "user", "content": "Where do I live?"}]
    facts.write_text(json.dumps([{"prompt": question, "answer": "Bergen"}]), encoding="utf-8")
    assert cli.main(["write", str(folder), str(facts), "--model", model_folder]) == 0
    capsys.readouterr()
    assert with_model("ask", str(folder), "Where do I live?", "--chat") == 0
    assert capsys.readouterr().out.startswith("Bergen")
    assert with_model("ask", str(folder), "Where do I live?") == 0
    assert not capsys.readouterr().out.startswith("Bergen")


def test_explain_prints_what_fires_and_what_comes_next(with_model, table_folder, capsys):
    assert with_model("explain", table_folder, f"{CODE[0]} 4471", "--top", "2") == 0
    said = capsys.readouterr().out
    assert "ilse: My locker code is → 4471" in said
    assert "The most likely next tokens" in said
    assert said.count("without  ") == said.count("with     ") > 1
    assert all(line.count(" %") == 2 for line in said.splitlines() if "without  " in line)


def test_explain_prints_tables_on_a_terminal(with_model, table_folder, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdout", Terminal())
    assert with_model("explain", table_folder, CODE[0]) == 0
    assert "rank was" in sys.stdout.getvalue()  # a column of the tables only


def test_explain_prints_json(with_model, table_folder, capsys):
    assert with_model("explain", table_folder, CODE[0], "--json") == 0
    (sequence,) = json.loads(capsys.readouterr().out)["sequences"]
    (firing,) = sequence["firings"]
    assert firing["fact"]["prompt"] == CODE[0]
    addresses = read_table(Path(table_folder)).rows.addresses.tolist()
    assert int(firing["address"], 16) in [address % (1 << 64) for address in addresses]


def test_explain_saves_a_picture(with_model, table_folder, tmp_path, capsys):
    path = tmp_path / "rows.svg"
    assert with_model("explain", table_folder, CODE[0], "--plot", str(path)) == 0
    assert path.read_bytes().startswith(b"<?xml")
    assert f"Picture: {path}" in capsys.readouterr().err


def test_explain_reads_a_users_message_in_a_chat(with_model, table_folder, capsys):
    assert with_model("explain", table_folder, "Hello", "--chat", "--json") == 0
    (sequence,) = json.loads(capsys.readouterr().out)["sequences"]
    assert "".join(sequence["tokens"]) == (
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert sequence["firings"] == []


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["ask", "My locker code is"], ["explain", "My locker"], ["erase", "--all", "--yes"]],
)
def test_a_folder_that_is_no_table_is_one_clear_message(arguments, tmp_path, capsys):
    command, *rest = arguments
    assert cli.main([command, str(tmp_path / "nothing"), *rest]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "is not a table that can be loaded" in captured.err
    assert captured.out == ""


def test_a_foreign_folder_is_not_written_to(model_folder, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    arguments = ["write", str(tmp_path), "--fact", *CODE, "--model", model_folder]
    assert cli.main(arguments) == 1
    assert "is not a table that can be loaded" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_missing_or_broken_facts_file_is_one_clear_message(model_folder, tmp_path, capsys):
    folder = tmp_path / "notes"
    broken = tmp_path / "broken.json"
    broken.write_bytes(b"\xff\xfe\xfa")
    for source in (tmp_path / "none.json", broken):
        assert cli.main(["write", str(folder), str(source), "--model", model_folder]) == 1
        assert f"The facts in {source} can't be read" in capsys.readouterr().err
    assert not folder.exists()


def test_a_model_that_is_not_the_tables_is_refused(table_folder, tmp_path, capsys):
    other = tmp_path / "other"
    tiny.tiny_model("llama", seed=1).save_pretrained(other)
    tiny.tiny_tokenizer().save_pretrained(other)
    assert cli.main(["ask", table_folder, CODE[0], "--model", str(other)]) == 1
    assert "does not fit this model" in capsys.readouterr().err


def test_a_table_finds_its_model_by_name(table_folder, model_folder, capsys, monkeypatch):
    monkeypatch.setattr(
        table_commands,
        "load_pretrained",
        lambda name: load_pretrained(model_folder if name == "tiny-llama" else name),
    )
    assert cli.main(["ask", table_folder, CODE[0]]) == 0
    assert capsys.readouterr().out == "4471.\n"


def test_a_model_that_cannot_be_found_by_its_name_is_asked_for(table_folder, capsys, monkeypatch):
    def nowhere(name):
        raise PretrainedModelError(name, ["everywhere"], "Look again.")

    monkeypatch.setattr(table_commands, "load_pretrained", nowhere)
    assert cli.main(["ask", table_folder, CODE[0]]) == 1
    assert "If it is in a folder, give --model FOLDER" in capsys.readouterr().err
    assert cli.main(["ask", table_folder, CODE[0], "--model", "nowhere"]) == 1
    assert "Look again." in capsys.readouterr().err


def test_ctrl_c_while_writing_leaves_the_table_as_it_was(
    with_model, table_folder, tmp_path, capsys, monkeypatch
):
    before = files_of(tmp_path / "ilse")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(UserTable, "write", interrupt)
    assert with_model("write", table_folder, "--fact", *CODE) == 130
    assert files_of(tmp_path / "ilse") == before
    assert "Interrupted" in capsys.readouterr().err


def test_ctrl_c_while_saving_leaves_the_table_as_it_was(
    with_model, table_folder, tmp_path, monkeypatch
):
    before = files_of(tmp_path / "ilse")
    monkeypatch.setattr(
        "engram_transformers.staging.os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt())
    )
    assert with_model("write", table_folder, "--fact", CODE[0], "5802") == 130
    assert files_of(tmp_path / "ilse") == before


def test_a_failing_save_is_one_clear_message(
    with_model, table_folder, tmp_path, capsys, monkeypatch
):
    before = files_of(tmp_path / "ilse")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engram_transformers.staging.os.fsync", full)
    assert with_model("write", table_folder, "--fact", CODE[0], "5802") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert files_of(tmp_path / "ilse") == before


def test_a_reader_that_goes_away_is_no_traceback(table_folder, monkeypatch):
    class Closed(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert cli.main(["show", table_folder]) == 1
