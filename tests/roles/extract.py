#!/usr/bin/env python3
"""Prints the rows of public-pods.tsv for the Pod templates in a folder of manifests, without roles.

    extract.py FOLDER REPOSITORY COMMIT

Only templates with several containers that run as long as the Pod are printed: all others have one possible role. A file
that is no YAML, such as the source of a chart, is skipped. Write the roles by what each container does, before the
product is asked."""

import os
import sys

import yaml

ANNOTATION = "kubectl.kubernetes.io/default-container"
LABEL = "app.kubernetes.io/name"


def templates(node):
    """Yields (kind, name, metadata, spec) of all Pods and Pod templates below an object."""
    if isinstance(node, list):
        for item in node:
            yield from templates(item)
    if not isinstance(node, dict):
        return
    kind, metadata, spec = node.get("kind"), node.get("metadata") or {}, node.get("spec") or {}
    if kind == "Pod":
        yield kind, metadata.get("name"), metadata, spec
    elif isinstance(spec, dict):
        template = spec.get("template") or ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
        if isinstance(template, dict) and isinstance(template.get("spec"), dict):
            yield kind, metadata.get("name"), template.get("metadata") or {}, template["spec"]
    yield from templates(node.get("items"))


def containers(spec):
    """The containers as name=image; a native sidecar has the prefix native:, a plain init container the prefix init:."""
    texts = []
    for container in spec.get("initContainers") or []:
        kind = "native" if container.get("restartPolicy") == "Always" else "init"
        texts.append(f"{kind}:{container['name']}={container.get('image', '')}")
    for container in spec["containers"]:
        texts.append(f"{container['name']}={container.get('image', '')}")
    return texts


def main(folder, repository, commit):
    seen = set()
    for directory, _, files in sorted(os.walk(folder)):
        for file in sorted(files):
            path = os.path.join(directory, file)
            if not file.endswith((".yaml", ".yml", ".injected", ".golden")) or not os.path.exists(path):
                continue
            try:
                with open(path, encoding="utf-8") as text:
                    documents = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
            except (yaml.YAMLError, UnicodeDecodeError, ValueError):
                continue
            for kind, name, metadata, spec in (row for document in documents for row in templates(document)):
                try:
                    texts = containers(spec)
                    long_running = [text for text in texts if not text.startswith("init:")]
                    annotation = (metadata.get("annotations") or {}).get(ANNOTATION, "-")
                    label = (metadata.get("labels") or {}).get(LABEL, "-")
                except (KeyError, TypeError, AttributeError):
                    continue
                key = (kind, name, tuple(text.split("@")[0].rsplit(":", 1)[0] for text in texts))
                if len(long_running) < 2 or key in seen:
                    continue
                seen.add(key)
                source = f"{repository} {commit[:12]} {os.path.relpath(path, folder)}"
                print(source, f"{kind}/{name}", label, annotation, " ".join(texts), sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
