import pytest
import yaml

from gpraflow.core import config as configs
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.models import registry as models_registry
from tests.workbook import workbook


@pytest.fixture(scope="module")
def schema(root):
    return schemas.load("config")


@pytest.fixture(scope="module")
def sheet_schema(root):
    return schemas.load("datasets")


def objects(part, path=""):
    if part.get("type") == "object":
        yield path, part
    for key, inner in part.get("properties", {}).items():
        yield from objects(inner, f"{path}.{key}")
    if isinstance(part.get("additionalProperties"), dict):
        yield from objects(part["additionalProperties"], f"{path}.*")


def test_config_yaml_is_the_schemas_defaults_with_every_key(root, schema):
    with open(root / "config/config.yaml") as handle:
        content = yaml.safe_load(handle)
    assert content["evaluation"].pop("datasets") == "config/sample_datasets.tsv"  # of the sample alone; the default is none
    defaults = schemas.defaults(schema)
    assert defaults["evaluation"].pop("datasets") == ""
    assert content == defaults, "config/config.yaml has every key of config.schema.yaml with its default"


def test_every_key_of_config_yaml_is_commented_or_says_itself(root, schema):
    text = (root / "config/config.yaml").read_text()
    for path, part in objects(schema):
        for key, inner in part.get("properties", {}).items():
            if "description" in inner and inner.get("type") != "object" and ".*" not in path:  # keys that users name have no default
                assert any(line.strip().startswith(f"{key}:") and inner["description"] in line for line in text.splitlines()), (
                    f"config/config.yaml: {path}.{key} lacks the schema's description as comment"
                )


def test_every_level_is_closed(schema, sheet_schema, registry_schema):
    for path, part in [*objects(schema), *objects(sheet_schema), *objects(registry_schema)]:
        assert part.get("additionalProperties") is False or isinstance(part.get("additionalProperties"), dict), path


def test_defaults_are_valid_and_filling_changes_nothing(schema):
    filled = schemas.validate({}, schema, "config")
    assert filled == schemas.validate(filled, schema, "config") == schemas.defaults(schema)


def test_overlays_are_valid(root, schema):
    for path in (root / "config").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        assert schemas.validate(content, schema, path.name)["run"] == content["run"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"trainning": {}}, r"config: 'trainning' is not a key; did you mean 'training'\?"),
        ({"training": {"learning_rat": 1}}, r"config: 'training\.learning_rat' is not a key; did you mean 'learning_rate'\?"),
        ({"input": {"columns": {"Sequence": "x"}}}, r"'input\.columns\.Sequence' is not a key; did you mean 'sequence'\?"),
        ({"model": {"name": "slide"}}, r"model\.name: 'slide' is not one of compact, biochemical, slides, .*; did you mean 'slides'\?"),
        ({"training": {"learning_rate": "1e-3"}}, r"'1e-3' is not of type number \(text in YAML\); write 1\.0e-3"),
        ({"training": {"epochs": "ten"}}, r"training\.epochs: 'ten' is not of type integer"),
        ({"training": {"epochs": 0}}, r"training\.epochs: 0 is less than"),
        ({"training": {"epochs": None}}, r"training\.epochs: None is not of type integer"),
        ({"training": None}, r"training: None is not of type object"),
        (
            {"input": {"conditions": {"a": "EL_a"}}},
            r"conditions\.a: 'EL_a' is not of type object; write .*, such as \{expression: \.\.\.\}",
        ),
        ({"input": {"header": "yes"}}, r"input\.header: 'yes' is not of type boolean"),
        ({"split": {"names": ["train", "test"]}}, r"split\.names: "),
        ({"run": "../up"}, r"run: "),
    ],
)
def test_wrong_keys_and_values(schema, content, message):
    with pytest.raises(ConfigError, match=message):
        schemas.validate(content, schema, "config")


@pytest.mark.parametrize(
    ("section", "old", "new"),
    [
        ("training", "average", "ema"),
        ("training", "average_strands", "rc_averaging"),
        ("training", "reverse_complement", "rc_augmentation"),
        ("training", "guard", "divergence_factor"),
        ("counts", "bins", "sample_sheet"),
        ("evaluation", "shuffled_epochs", "permutation_epochs"),
    ],
)
def test_a_renamed_key_is_an_error_that_names_the_new_key(schema, section, old, new):
    with pytest.raises(ConfigError) as caught:
        configs.load({section: {old: 0}})
    assert str(caught.value) == f"config: '{section}.{old}' was renamed to '{section}.{new}' in version 0.2"
    assert new in schema["properties"][section]["properties"]


def test_old_names_are_listed_for_keys_that_were_renamed(schema, sheet_schema):
    for path, part in [*objects(schema), *objects(sheet_schema)]:
        for old, new in part.get("x-renamed", {}).items():
            assert new in part["properties"], f"{path}.{new}"
            assert old not in part["properties"], f"{path}.{old}"


def test_all_mistakes_are_told_at_once(schema):
    with pytest.raises(ConfigError) as caught:
        schemas.validate({"sead": 1, "split": {"sed": 2}}, schema, "config")
    assert len(str(caught.value).splitlines()) == 2


def test_the_registry_is_the_schema_s(schema):
    assert schema["properties"]["model"]["properties"]["name"]["enum"] == list(models_registry.REGISTRY), (
        "workflow/schemas/config.schema.yaml: the enum of model.name has the names of REGISTRY in the same order"
    )


@pytest.mark.parametrize(
    ("name", "preset", "changes", "message"),
    [
        ("slides", "smal", {}, r"'slides' has no preset 'smal'; did you mean 'small'\? \(it has paper, small\)"),
        ("slides", "small", {"dropot": 0.1}, r"model\.sizes: 'slides' has no size 'dropot'; did you mean 'dropout'\?"),
        ("slides", "small", {"kernel_size": 7.5}, r"model\.sizes\.kernel_size: 7\.5 should be of type int, as 7 of preset 'small'"),
        ("slids", "small", {}, r"no architecture 'slids'; did you mean 'slides'\?"),
    ],
)
def test_sizes_that_are_not_there(name, preset, changes, message):
    with pytest.raises(ConfigError, match=message):
        models_registry.choose_sizes(name, preset, changes)


def test_sizes_are_the_preset_s_with_changes():
    preset, sizes = models_registry.choose_sizes("slides", "auto", {"kernel_size": 9, "dropout": 0})
    assert preset == "small"
    assert sizes == models_registry.describe("slides").presets["small"] | {"kernel_size": 9, "dropout": 0}
    assert models_registry.choose_sizes("baseline_kmer", "auto", {})[0] == "default"


@pytest.mark.parametrize(
    ("content", "bins", "reads", "unit"),
    [
        ({}, True, True, "bin units"),
        ({"counts": {"scale": "gate"}}, True, True, "units of the gates"),
        ({"counts": {"table": "counts.tsv"}}, True, False, "bin units"),
        ({"input": {"table": "results/sample/expression/promoters.parquet"}}, True, True, "bin units"),
        ({"input": {"table": "mpra.tsv"}}, False, False, "units of the table"),
        ({"input": {"table": "mpra.tsv"}, "plots": {"unit": "log2 RNA/DNA"}}, False, False, "log2 RNA/DNA"),
    ],
)
def test_the_unit_is_that_of_the_input(content, bins, reads, unit):
    config = configs.load(content)
    assert (configs.from_bins(config), configs.from_reads(config), configs.input_unit(config)) == (bins, reads, unit)


@pytest.mark.parametrize(
    ("transform", "unit", "expected"),
    [
        ("log2", "auto", "log2(expression)"),
        ("log2", "RNA/DNA", "log2(RNA/DNA)"),
        ("rank_normal", "auto", "normal score of expression"),
        ("none", "RNA/DNA", "RNA/DNA"),
    ],
)
def test_the_unit_states_the_transform(transform, unit, expected):
    config = configs.load({"input": {"table": "x.tsv", "transform": transform}, "plots": {"unit": unit}})
    configs.check_transform(config)
    assert configs.unit(config) == expected


def test_a_teacher_has_no_cells_per_bin():
    training = {"teacher": "results/ensemble/model", "loss": "bins", "bin_labels": "cells"}
    with pytest.raises(ConfigError, match=r"training\.bin_labels: cells needs cells per bin, but training\.teacher predicts expression"):
        configs.check_teacher(configs.load({"training": training}))
    configs.check_teacher(configs.load({"training": training | {"bin_labels": "normal"}}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"input": {"transform_floor": 0.1}}, r"input\.transform_floor: 0\.1 applies to input\.transform: log2 only, and that is none"),
        ({"input": {"transform": "rank_normal", "transform_floor": 0.1}}, "that is rank_normal"),
        ({"input": {"transform": "log2"}, "training": {"loss": "bins"}}, r"training\.bin_labels: normal needs expression in bins"),
        ({"input": {"transform": "log2"}, "evaluation": {"dream": {"dataset": "d"}}}, "changes the labels that evaluation.dream scores"),
        ({"input": {"transform": "log"}}, r"input\.transform: 'log' is not one of none, log2, rank_normal; did you mean 'log2'"),
        ({"input": {"transform": "log2", "transform_floor": 0}}, r"input\.transform_floor: 0 is less than or equal to"),
    ],
)
def test_keys_that_do_not_agree_with_the_transform(content, message):
    with pytest.raises(ConfigError, match=message):
        configs.check_transform(configs.load(content))


def test_split_to_score_must_be_made(schema):
    content = schemas.validate({"split": {"names": ["train", "val"]}}, schema, "config")
    with pytest.raises(ConfigError, match=r"evaluation\.splits: 'test' is not in split\.names \(train, val\)"):
        configs.check_splits(content)


def sheet(tmp_path, text):
    (tmp_path / "sheet.tsv").write_text(text)
    return tmp_path / "sheet.tsv"


def test_sheet(tmp_path, sheet_schema):
    rows = schemas.load_sheet(sheet(tmp_path, "# comment\nname\ttable\texpression_min\na\tx.tsv\t-1.5\nb\ty.tsv\t\n"), sheet_schema)
    assert [(row["name"], row.get("expression_min"), row["n_reads"]) for row in rows] == [("a", -1.5, "auto"), ("b", None, "auto")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\ttabel\na\tx\n", r"'tabel' is not a column of this sheet; did you mean 'table'\?"),
        ("name\ttable\na\tx\na\ty\n", r"the name 'a' is listed 2 times; each may be listed once"),
        ("name\ttable\na\n", r"row 2: it: 'table' is a required property"),
        ("name\ttable\na\tx\tz\n", r"row 2: more cells"),
        ("name\ttable\texpression_min\na\tx\tlow\n", r"row 2: expression_min: 'low' is not of type number"),
        ("name\ttable\ntest\tx\n", r"row 2: name: "),
    ],
)
def test_bad_sheet(tmp_path, sheet_schema, text, message):
    with pytest.raises(GpraflowError, match=message) as caught:
        schemas.load_sheet(sheet(tmp_path, text), sheet_schema)
    assert "sheet.tsv" in str(caught.value)


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_sheet_may_be_csv(tmp_path, separator):
    text = '# mine|bin,lower,reads,replicate|low,,"1.fq,2.fq",a|high,1.5,3.fq,a|'.replace("|", "\r\n")
    (tmp_path / "bins.csv").write_text("\ufeff" + (text if separator == "," else text.replace(",", ";").replace("1.fq;2.fq", "1.fq,2.fq")))
    rows = schemas.load_sheet(tmp_path / "bins.csv", schemas.load("sample_sheet"))
    assert rows == [
        {"bin": "low", "reads": "1.fq,2.fq", "replicate": "a"},
        {"bin": "high", "lower": 1.5, "reads": "3.fq", "replicate": "a"},
    ]
    assert [row.line for row in rows] == [3, 4]


def test_empty_columns_and_rows_at_the_end_of_a_csv_sheet_are_left_out(tmp_path):
    """As spreadsheets export cells that were formatted or cleared."""
    path, schema = tmp_path / "bins.csv", schemas.load("sample_sheet")
    path.write_text("bin,lower,,\nlow,,,\nhigh,1,,\n,,,\n,,,\n")
    rows = schemas.load_sheet(path, schema)
    assert (rows, [row.line for row in rows]) == ([{"bin": "low"}, {"bin": "high", "lower": 1}], [2, 3])
    path.write_text("bin,lower,,\nlow,,,\nhigh,1,,x\n")
    with pytest.raises(InputError, match=r"bins\.csv, row 3: more cells than the header has columns"):
        schemas.load_sheet(path, schema)
    path.write_text("bin,,lower\nlow,,\n")
    with pytest.raises(ConfigError, match="'' is not a column of this sheet"):
        schemas.load_sheet(path, schema)
    path.write_text(",,\n")
    with pytest.raises(ConfigError, match="the sheet is empty"):
        schemas.load_sheet(path, schema)


def test_a_sheet_may_be_a_spreadsheet(tmp_path):
    """Cells are those of the same sheet as text; whole numbers have no decimals, and rows are those of the spreadsheet."""
    pytest.importorskip("fastexcel")
    rows = [
        ["# sorted in May"],
        [],
        ["bin", "lower", "reads", "cells", "replicate"],
        [1, None, "1.fq, 2.fq", 1500, "a"],
        ["# bin 2 was lost"],
        [3, 0.1, "3.fq", 2e6, " a "],
    ]
    workbook(tmp_path / "bins.xlsx", {"data": rows, "empty": []})
    found = schemas.load_sheet(tmp_path / "bins.xlsx", schemas.load("sample_sheet"))
    assert found == [
        {"bin": "1", "reads": "1.fq, 2.fq", "cells": 1500, "replicate": "a"},
        {"bin": "3", "lower": 0.1, "reads": "3.fq", "cells": 2e6, "replicate": "a"},
    ]
    assert [row.line for row in found] == [4, 6]
    for changed, error, message in (
        ([*rows[:3], [1, "low"]], ConfigError, r"bins\.xlsx, row 4: lower: 'low' is not of type number"),
        ([["bin", "reeds"], ["a"]], ConfigError, r"bins\.xlsx: 'reeds' is not a column of this sheet; did you mean 'reads'\?"),
        ([["bin"], ["a", "b"]], InputError, r"bins\.xlsx, row 2: more cells than the header has columns"),
        ([["bin"], [], ["a"]], InputError, r"bins\.xlsx, row 2: the line is empty; delete it"),
        ([], InputError, r"bins\.xlsx: the file is empty"),
    ):
        workbook(tmp_path / "bins.xlsx", {"data": changed})
        with pytest.raises(error, match=message):
            schemas.load_sheet(tmp_path / "bins.xlsx", schemas.load("sample_sheet"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bins.tsv", b"bin,cells\nlow,1\n", "separated by commas, but .* must be separated by tabs; name the file .csv"),
        (
            "bins.txt",
            b'"bin";"cells"\nlow;1\n',
            "separated by semicolons, but .* must be separated by tabs; name the file .csv",
        ),
        ("bins.csv", b"bin\tcells\nlow\t1\n", "separated by tabs, but .* must be separated by commas; name the file .tsv"),
        ("bins.ods", b"PK\x03\x04\xff\xfe", r"not UTF-8 text; save it as UTF-8 .*as tab-separated text, or as CSV UTF-8"),
        ("bins.csv", b"bin;lower\nlow;0,5\n", r"row 2: lower: '0,5' is not of type number; write a decimal point: 0\.5"),
    ],
)
def test_a_sheet_with_other_separators(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name}.*{message}"):
        schemas.load_sheet(tmp_path / name, schemas.load("sample_sheet"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("peers", "published_models"),
        ("base", "parent"),
        ("base_sequence", "parent_sequence"),
        ("base_expression", "parent_expression"),
    ],
)
def test_a_renamed_column_is_an_error_that_names_the_new_column(tmp_path, sheet_schema, old, new):
    path = sheet(tmp_path, f"name\ttable\t{old}\na\tx\ty\n")
    with pytest.raises(ConfigError) as caught:
        schemas.load_sheet(path, sheet_schema)
    assert str(caught.value) == f"{path}: the column '{old}' was renamed to '{new}' in version 0.2"
    sheet(tmp_path, f"name\ttable\t{new}\na\tx\ty\n")
    assert schemas.load_sheet(path, sheet_schema)[0][new] == "y"


def test_missing_sheet(tmp_path, sheet_schema):
    with pytest.raises(ConfigError, match=r"none\.tsv: this file does not exist"):
        schemas.load_sheet(tmp_path / "none.tsv", sheet_schema)


# The registry of public data sets

REGISTRY = """
dream:
  title: t
  licence: CC BY 4.0
  doi: 10.5281/zenodo.1
  files:
    train: {name: train.txt}
    test: {name: test.txt, checksum: "md5:00", mirrors: ["https://example.org/test.txt"]}
"""


@pytest.fixture(scope="module")
def registry_schema(root):
    return schemas.load("registry")


def registry(tmp_path, text):
    (tmp_path / "registry.yaml").write_text(text)
    return tmp_path / "registry.yaml"


def test_the_registry_that_comes_with_gpraflow(root, registry_schema):
    known = configs.load_registry(root / "resources/datasets.yaml", registry_schema)
    assert known["dream2022"]["doi"] == "10.5281/zenodo.10633252"
    assert known["dream2022"]["files"]["train"]["name"] == "train.txt"
    assert all(file["checksum"] == "" for file in known["dream2022"]["files"].values())


def test_a_public_file_is_known_by_its_path(tmp_path, registry_schema):
    known = configs.load_registry(registry(tmp_path, REGISTRY), registry_schema)
    found = {"dataset": "dream", "doi": "10.5281/zenodo.1", "registry": "r.yaml"}
    for data in ("data", "data/", "/shared/data", "."):
        assert configs.public_file(f"{data}/dream/train.txt", data, known, "r.yaml") == found | {
            "file": "train.txt",
            "checksum": "",
            "mirrors": [],
        }
        assert configs.public_file(f"{data}/dream/test.txt", data, known, "r.yaml") == found | {
            "file": "test.txt",
            "checksum": "md5:00",
            "mirrors": ["https://example.org/test.txt"],
        }
    for table in ("data/train.txt", "elsewhere/dream/train.txt", "data/other/train.txt", "data/x/dream/train.txt", "results/r/e.parquet"):
        assert configs.public_file(table, "data", known, "r.yaml") is None


def test_a_file_that_the_registry_lacks(tmp_path, registry_schema):
    known = configs.load_registry(registry(tmp_path, REGISTRY), registry_schema)
    table = f"{tmp_path}/dream/trian.txt"
    with pytest.raises(
        ConfigError, match=r"r\.yaml has no file 'trian\.txt' in dream; did you mean 'train\.txt'\? \(it has train\.txt, test\.txt\)"
    ):
        configs.public_file(table, str(tmp_path), known, "r.yaml")
    (tmp_path / "dream").mkdir()
    (tmp_path / "dream/trian.txt").write_text("the user's own")
    assert configs.public_file(table, str(tmp_path), known, "r.yaml") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (REGISTRY.replace("doi:", "DOI:"), r"'dream\.DOI' is not a key; did you mean 'doi'\?"),
        (REGISTRY.replace("licence: CC BY 4.0", "citation: x"), r"dream: 'licence' is a required property"),
        (REGISTRY.replace('"md5:00"', '"crc32:00"'), r"dream\.files\.test\.checksum: 'crc32:00' does not match"),
        (REGISTRY.replace("name: train.txt", "name: a/train.txt"), r"dream\.files\.train\.name: 'a/train\.txt' cannot be part of"),
        (REGISTRY.replace("  doi: 10.5281/zenodo.1\n", ""), r"dream\.files\.train: without a Zenodo doi, a file needs a checksum and"),
        (REGISTRY.replace("dream:", "../dream:"), r"'\.\./dream' cannot be part of"),
        ("- dream", "not a registry of data sets"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_registry_that_cannot_be_used(tmp_path, registry_schema, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        configs.load_registry(registry(tmp_path, text), registry_schema)
    assert "registry.yaml" in str(caught.value)


def test_a_registry_that_is_not_there(tmp_path, registry_schema):
    with pytest.raises(ConfigError, match=r"fetch\.registry: .*none\.yaml does not exist"):
        configs.load_registry(tmp_path / "none.yaml", registry_schema)


def test_columns_of_a_sheet_beside_those_of_the_promoter_table():
    found = configs.extras_of({"published_models": "a, b,", "groups": "g", "parent": "g", "parent_expression": "e"})
    assert (found["published_models"], found["groups"], found["replicates"], found["sd_is"]) == (["a", "b"], ["g"], [], "standard_error")
    assert found["keep"] == ["a", "b", "g", "e"]
    assert found["keep_if_there"] == ["a_parent", "a_base", "b_parent", "b_base"]
    assert configs.extras_of({})["keep"] == []


def test_runs_to_compare_with_must_be_finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/first").mkdir(parents=True)
    (tmp_path / "results/first/metrics.json").write_text("{}")
    configs.check_comparison(["first"], "mine")
    with pytest.raises(ConfigError, match=r"metrics\.json does not exist; did you mean 'first'\? \(finished: first\)"):
        configs.check_comparison(["frist"], "mine")
    with pytest.raises(ConfigError, match="'mine' is this run itself"):
        configs.check_comparison(["mine"], "mine")


def test_the_dream_test_table_is_an_independent_set_without_header():
    configs.check_dream({"dataset": "", "subsets": "", "public": ""}, {})
    sets = {"dream": {"header": False}, "other": {"header": True}}
    configs.check_dream({"dataset": "dream", "subsets": "x", "public": ""}, sets)
    for dataset, subsets, message in (
        ("draem", "x", "'draem' is not an independent data set; did you mean 'dream'"),
        ("other", "x", "'other' has a header"),
        ("dream", "", "evaluation.dream.subsets: give the folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            configs.check_dream({"dataset": dataset, "subsets": subsets, "public": ""}, sets)


def test_pairs_are_those_of_independent_data_sets():
    configs.check_pairs([], {})
    configs.check_pairs(["native"], {"native": {}})
    with pytest.raises(ConfigError, match=r"prediction\.pairs: 'natve' is not an independent data set; did you mean 'native'\?"):
        configs.check_pairs(["native", "natve"], {"native": {}})
    with pytest.raises(ConfigError, match=r"'test' is not an independent data set \(known: none\)"):
        configs.check_pairs(["test"], {})


def test_the_data_set_to_explain_is_one_that_is_scored():
    assert configs.choose_explained("auto", ["test", "native"]) == "test"
    assert configs.choose_explained("native", ["test", "native"]) == "native"
    assert configs.choose_explained("auto", []) == configs.choose_explained("", ["test"]) == ""
    with pytest.raises(ConfigError, match=r"explain.dataset: 'nativ' is not scored.*did you mean 'native'.*test, native"):
        configs.choose_explained("nativ", ["test", "native"])


def test_rows_of_sheets_have_the_numbers_of_their_lines(tmp_path, sheet_schema):
    path = sheet(tmp_path, "# what this is\n# and why\nname\ttable\texpression_min\na\tx.tsv\t1\n# not yet:\nb\ty.tsv\tlow\n")
    with pytest.raises(ConfigError, match=r"row 6: expression_min: 'low' is not of type number"):
        schemas.load_sheet(path, sheet_schema)
    path = sheet(tmp_path, "# what this is\nname\ttable\na\tx.tsv\n# not yet:\nb\ty.tsv\n")
    assert [row.line for row in schemas.load_sheet(path, sheet_schema)] == [3, 5]
