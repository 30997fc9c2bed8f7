"""Write the sample videos of the demo, drawn from public-domain pictures in scikit-image.

python jobs/demo_videos.py folder/ --reference astronaut.jpg
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("demo-videos")

from pipeline.pictures.demo_video import write_demo_reference, write_demo_videos
from schemas.files import local_path


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("folder", type=local_path)
    parser.add_argument(
        "--reference", type=local_path, help="also write a picture of the character here"
    )
    arguments = parser.parse_args()
    try:
        print(f"wrote {write_demo_videos(arguments.folder)}")
        if arguments.reference:
            write_demo_reference(arguments.reference)
    except (ImportError, ValueError, OSError) as error:
        print(f"demo_videos: {error}", file=sys.stderr)
        return 2
    return 0
