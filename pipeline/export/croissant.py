"""Croissant 1.1 metadata with the responsible-AI vocabulary, beside the Parquet files it describes.

Source: the Croissant 1.1 specification and its RAI extension, mlcommons.org/croissant.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.export.export_source import CardFacts, ExportSource
from pipeline.export.parquet_shards import write_shards
from schemas.columns import schema_of
from schemas.manifest import DataFile, Manifest
from schemas.tables import Sample

CROISSANT = "croissant.json"
_VOCABULARY = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field",
    "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset",
    "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {name: f"cr:{name}" for name in _VOCABULARY}
_TYPES = {
    pa.string(): "sc:Text", pa.int32(): "sc:Integer", pa.int64(): "sc:Integer",
    pa.float32(): "sc:Float", pa.float64(): "sc:Float", pa.bool_(): "sc:Boolean",
}  # fmt: skip
_LICENCES = {
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "mit": "https://opensource.org/license/mit",
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
}


def write_croissant(source: ExportSource, folder: Path) -> None:
    """Write data/ and croissant.json."""
    files = write_shards(source, folder)
    described = describe(source.facts, source.manifest, files)
    text = json.dumps(described, indent=1, ensure_ascii=False)
    (folder / CROISSANT).write_text(text + "\n", encoding="utf-8")


def describe(facts: CardFacts, manifest: Manifest, files: list[DataFile]) -> dict[str, Any]:
    """Return the JSON-LD."""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": facts.name,
        "description": (
            "Samples for character-consistent video: a clip, the character in it, reference images "
            "of that character, and a caption."
        ),
        "version": f"{manifest.version}.0.0",
        "datePublished": datetime.now(UTC).date().isoformat(),  # the day of this export
        "citeAs": f"{facts.name}, version {manifest.version}, made by ContextAnyone.",
        "license": [_LICENCES.get(name.lower(), name) for name in sorted(facts.licences)],
        "isLiveDataset": False,
        "keywords": ["video", "identity", "character consistency"],
        **_responsible(facts, manifest),
        "distribution": [*map(_file, files), _file_set()],
        "recordSet": [_records(facts, files)],
    }


def _responsible(facts: CardFacts, manifest: Manifest) -> dict[str, Any]:
    dropped = {
        reason: number
        for row in manifest.funnel
        for reason, number in row.reasons.items()
    }  # fmt: skip
    kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(facts.kinds.items()))
    sources = ", ".join(sorted(facts.sources)[:20])
    return {
        "rai:dataCollectionType": ["Others"],  # the vocabulary's word for what none of its own fits
        "rai:dataCollectionRawData": "The source videos, which are not part of the dataset.",
        "rai:dataCollectionMissingData": (
            "When and how the source videos were obtained, and who is seen, is not recorded."
        ),
        "rai:dataManipulationProtocol": (
            "Clips are re-encoded in one frame rate and size; backgrounds and light of some "
            "references are changed, as each reference's column `augmentation` says."
        ),
        "rai:dataAnnotationProtocol": (
            "Boxes, masks, identities, scores and captions are made by the machine annotation "
            "tools; people may veto samples."
        ),
        "rai:annotationsPerItem": "One of each kind.",
        "rai:dataSocialImpact": (
            "Video of one character can be misused to show people in what they did not do."
        ),
        "rai:dataCollection": f"Cut from {len(facts.videos)} videos of {sources}.",
        "rai:dataPreprocessingProtocol": (
            f"Shots, clips, tracked people, characters, references ({kinds}). Dropped: "
            + (", ".join(f"{name} {n}" for name, n in sorted(dropped.items())) or "nothing")
        ),
        "rai:machineAnnotationTools": [
            f"{engine.get('task', '')}: {engine.get('id', '')}" for engine in manifest.engines
        ],
        "rai:personalSensitiveInformation": (
            "Clips and references show faces and bodies of people. Identity vectors are left out."
        ),
        "rai:dataLimitations": (
            "Identities are found by machine and may be wrong; captions are written by machine."
        ),
        "rai:dataBiases": "Whom the engines detect and recognise differs between groups of people.",
        "rai:dataUseCases": "Training and measuring video generation of one character.",
        "rai:dataReleaseMaintenancePlan": "Removals make a new version; compare before each use.",
    }  # fmt: skip


def _file(file: DataFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "contentUrl": file.path,
        "contentSize": f"{file.size_bytes} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file.sha256,
    }


def _file_set() -> dict[str, Any]:
    """Return the files as one table; in no archive, so they lie beside the description."""
    return {
        "@type": "cr:FileSet",
        "@id": "samples-files",
        "name": "samples-files",
        "encodingFormat": "application/x-parquet",
        "includes": "data/*.parquet",
    }


def _records(facts: CardFacts, files: list[DataFile]) -> dict[str, Any]:
    fields = [_field(field) for field in schema_of(Sample) if field.type in _TYPES]
    clip = {
        "@type": "cr:Field",
        "@id": "samples/video",
        "name": "video",
        "description": "the clip, H.264 in MP4",
        "dataType": "sc:VideoObject",
        "source": {
            "fileSet": {"@id": "samples-files"},
            "extract": {"column": "video"},
            "transform": {"jsonPath": "bytes"},
        },
    }
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": f"{facts.total} samples in {len(files)} files",
        "key": {"@id": "samples/sample_id"},
        "field": [*fields, clip],
    }


def _field(field: pa.Field) -> dict[str, Any]:
    metadata = field.metadata or {}
    unit = f", in {metadata[b'unit'].decode()}" if b"unit" in metadata else ""
    return {
        "@type": "cr:Field",
        "@id": f"samples/{field.name}",
        "name": field.name,
        "description": metadata.get(b"doc", b"").decode() + unit,
        "dataType": _TYPES[field.type],
        "source": {"fileSet": {"@id": "samples-files"}, "extract": {"column": field.name}},
    }
