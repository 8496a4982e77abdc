import pytest
import yaml
from gpraflow import config
from gpraflow.errors import ConfigError, GpraflowError


@pytest.fixture(scope="module")
def schema(root):
    return config.load_schema(root / "workflow/schemas/config.schema.yaml")


@pytest.fixture(scope="module")
def sheet_schema(root):
    return config.load_schema(root / "workflow/schemas/datasets.schema.yaml")


def objects(part, path=""):
    if part.get("type") == "object":
        yield path, part
    for key, inner in part.get("properties", {}).items():
        yield from objects(inner, f"{path}.{key}")
    if isinstance(part.get("additionalProperties"), dict):
        yield from objects(part["additionalProperties"], f"{path}.*")


def test_config_yaml_is_the_schemas_defaults_with_every_key(root, schema):
    with open(root / "config/config.yaml") as handle:
        assert yaml.safe_load(handle) == config.defaults(schema)


def test_every_key_of_config_yaml_is_commented_or_says_itself(root, schema):
    text = (root / "config/config.yaml").read_text()
    for path, part in objects(schema):
        for key, inner in part.get("properties", {}).items():
            if "description" in inner and inner.get("type") != "object":
                assert any(line.strip().startswith(f"{key}:") and inner["description"] in line for line in text.splitlines()), (
                    f"{path}.{key}"
                )


def test_every_level_is_closed(schema, sheet_schema):
    for path, part in [*objects(schema), *objects(sheet_schema)]:
        assert part.get("additionalProperties") is False or isinstance(part.get("additionalProperties"), dict), path


def test_defaults_are_valid_and_filling_changes_nothing(schema):
    filled = config.validate({}, schema, "config")
    assert filled == config.validate(filled, schema, "config") == config.defaults(schema)


def test_overlays_are_valid(root, schema):
    for path in (root / "config").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        assert config.validate(content, schema, path.name)["run"] == content["run"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"trainning": {}}, r"config: 'trainning' is not a key; did you mean 'training'\?"),
        ({"training": {"learning_rat": 1}}, r"config: 'training\.learning_rat' is not a key; did you mean 'learning_rate'\?"),
        ({"input": {"columns": {"Sequence": "x"}}}, r"'input\.columns\.Sequence' is not a key; did you mean 'sequence'\?"),
        ({"model": {"slides": {"mine": {"filters": 3}}}}, r"'model\.slides\.mine\.filters' is not a key; did you mean"),
        ({"model": {"name": "slide"}}, r"model\.name: 'slide' is none of slides; did you mean 'slides'\?"),
        ({"training": {"epochs": "ten"}}, r"training\.epochs: 'ten' is no integer"),
        ({"training": {"epochs": 0}}, r"training\.epochs: 0 is less than"),
        ({"training": {"epochs": None}}, r"training\.epochs: None is no integer"),
        ({"training": None}, r"training: None is no object"),
        ({"input": {"header": "yes"}}, r"input\.header: 'yes' is no boolean"),
        ({"split": {"names": ["train", "test"]}}, r"split\.names: "),
        ({"run": "../up"}, r"run: "),
    ],
)
def test_wrong_keys_and_values(schema, content, message):
    with pytest.raises(ConfigError, match=message):
        config.validate(content, schema, "config")


def test_all_mistakes_are_told_at_once(schema):
    with pytest.raises(ConfigError) as caught:
        config.validate({"sead": 1, "split": {"sed": 2}}, schema, "config")
    assert len(str(caught.value).splitlines()) == 2


def test_unknown_preset_names_the_nearest(schema):
    model = config.defaults(schema)["model"] | {"preset": "smal"}
    with pytest.raises(ConfigError, match=r"'slides' has no preset 'smal'; did you mean 'small'\? \(it has paper, small\)"):
        config.choose_preset(model)


def test_own_preset_takes_defaults(schema):
    filled = config.validate({"model": {"preset": "mine", "slides": {"mine": {"kernel_size": 9}}}}, schema, "config")
    sizes = config.choose_preset(filled["model"])
    assert sizes["kernel_size"] == 9
    assert sizes["conv1d_filters"] == 128


def test_split_to_score_must_be_made(schema):
    content = config.validate({"split": {"names": ["train", "val"]}}, schema, "config")
    with pytest.raises(ConfigError, match=r"evaluation\.splits: 'test' is not in split\.names \(train, val\)"):
        config.check_splits(content)


def sheet(tmp_path, text):
    (tmp_path / "sheet.tsv").write_text(text)
    return tmp_path / "sheet.tsv"


def test_sheet(tmp_path, sheet_schema):
    rows = config.load_sheet(sheet(tmp_path, "# comment\nname\ttable\texpression_min\na\tx.tsv\t-1.5\nb\ty.tsv\t\n"), sheet_schema)
    assert [(row["name"], row.get("expression_min"), row["n_reads"]) for row in rows] == [("a", -1.5, "auto"), ("b", None, "auto")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\ttabel\na\tx\n", r"'tabel' is not a column of this sheet; did you mean 'table'\?"),
        ("name\ttable\na\tx\na\ty\n", r"the name 'a' is there 2 times; each may be there once"),
        ("name\ttable\na\n", r"row 2: it: 'table' is a required property"),
        ("name\ttable\na\tx\tz\n", r"row 2: more cells"),
        ("name\ttable\texpression_min\na\tx\tlow\n", r"row 2: expression_min: 'low' is no number"),
        ("name\ttable\ntest\tx\n", r"row 2: name: "),
    ],
)
def test_bad_sheet(tmp_path, sheet_schema, text, message):
    with pytest.raises(GpraflowError, match=message) as caught:
        config.load_sheet(sheet(tmp_path, text), sheet_schema)
    assert "sheet.tsv" in str(caught.value)


def test_missing_sheet(tmp_path, sheet_schema):
    with pytest.raises(ConfigError, match=r"none\.tsv: this sheet does not exist"):
        config.load_sheet(tmp_path / "none.tsv", sheet_schema)
