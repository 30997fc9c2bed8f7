"""What can be wrong with a dataset's manifest and files."""

from pipeline.audit.findings import Action, error, warning

ROW_GROUP_MIB = 100  # what Hugging Face's viewer and streaming readers take at once
_FOREIGN = "A file of another schema, or one that holds Python objects, can run code when read."

NO_MANIFEST = warning(
    "file.no-manifest", "There is no manifest",
    "Nothing says which files belong to the dataset, or that they are whole.",
    "Write one with the pipeline's commit, or keep the list of files and SHA-256 yourself.",
    Action.NONE,
)  # fmt: skip
MANIFEST_DAMAGED = error(
    "file.manifest-damaged", "The manifest cannot be trusted",
    "A changed manifest can hide or add files, and its funnel and settings prove nothing.",
    "Restore it from a copy, or curate again; units that are there are not made again.",
    Action.NONE,
)  # fmt: skip
SCHEMA_VERSION = error(
    "file.schema-version", "The schema version is not known",
    "Columns may mean something else than this code believes.",
    "Audit with the code that made the dataset, or make it again.", Action.NONE,
)  # fmt: skip
FILE_MISSING = error(
    "file.missing", "A listed file is missing",
    "Its rows are gone; a trainer that reads by the manifest stops.",
    "Copy the file again, or curate again to publish a whole version.", Action.NONE,
)  # fmt: skip
FILE_UNLISTED = error(
    "file.unlisted", "A file is there that the manifest does not list",
    "Readers that glob the folder train on rows that no check has seen.",
    "Remove it, or publish a version that lists it.", Action.NONE,
)  # fmt: skip
FILE_HASH = error(
    "file.hash", "A file's bytes differ from the manifest",
    "A changed byte may be a damaged clip, or somebody's edit.",
    "Copy the file again; if that does not help, curate again.", Action.NONE,
)  # fmt: skip
FILE_ROWS = error(
    "file.rows", "A file has other rows than the manifest says",
    "Rows were lost or added after publishing.",
    "Copy the file again, or curate again.", Action.NONE,
)  # fmt: skip
FILE_UNREADABLE = error(
    "file.unreadable", "A file cannot be read as Parquet",
    "Its rows cannot be used, and nothing else is known about them.",
    "Copy the file again, or curate again.", Action.NONE,
)  # fmt: skip
SCHEMA_FOREIGN = error(
    "file.schema-foreign", "A file's schema is not ours; its values were not read", _FOREIGN,
    "Do not load it. Ask its maker for the columns of schemas/tables.py.", Action.NONE,
)  # fmt: skip
COLUMNS_MISSING = error(
    "file.columns-missing", "Columns that training needs are missing",
    "The trainer refuses the file, or trains on defaults.",
    "Write the columns; schemas/tables.py says what they hold.", Action.NONE,
)  # fmt: skip
NO_SAMPLES = error(
    "file.no-samples", "There are no samples", "There is nothing to train on.",
    "Look at the funnel: it says where everything went.", Action.NONE,
)  # fmt: skip
ROW_GROUP = warning(
    "file.row-group", "A row group is too large",
    "Streaming readers and dataset viewers load a whole group at once.",
    f"Write groups of at most {ROW_GROUP_MIB} MiB: about ten rows with clips.", Action.NONE,
)  # fmt: skip
CHECKS = (
    NO_MANIFEST, MANIFEST_DAMAGED, SCHEMA_VERSION, FILE_MISSING, FILE_UNLISTED, FILE_HASH,
    FILE_ROWS, FILE_UNREADABLE, SCHEMA_FOREIGN, COLUMNS_MISSING, NO_SAMPLES, ROW_GROUP,
)  # fmt: skip
