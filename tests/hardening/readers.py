"""Every reader of the toolkit, with a whole file to damage."""

from __future__ import annotations

from hardening import of_data, of_runs, of_weights
from hardening.drawn import DRAWN
from hardening.reader import Reader

_LINES = '{"image": "p0.jpg", "labels": ["dog"]}\n{"image": "p1", "labels": "cat"}\n'

READERS: dict[str, Reader] = {
    "index.jsonl": Reader("jsonl", of_runs.in_run("prepare/index.jsonl", of_runs.index)),
    "classes.json": Reader("json", of_runs.in_run("prepare/classes.json", of_runs.index)),
    "roots.json": Reader("json", of_runs.in_run("prepare/roots.json", of_runs.index)),
    "stage.json": Reader("json", of_runs.in_run("train-cls/stage.json", of_runs.records)),
    "done.json": Reader("json", of_runs.in_run("prepare/done.json", of_runs.records)),
    "stage.json, report": Reader("json", of_runs.in_run("prepare/stage.json", of_runs.report)),
    "metrics.jsonl": Reader("jsonl", of_runs.in_run("train-cls/metrics.jsonl", of_runs.report)),
    "eval/*.json": Reader("json", of_runs.in_run("eval/cam-val.json", of_runs.report)),
    "report.json": Reader("json", of_runs.in_run("prepare/report.json", of_runs.report)),
    "recipe.yaml of a run": Reader("text", of_runs.in_run("recipe.yaml", of_runs.report)),
    "lock": Reader("json", of_runs.in_run("prepare/lock", of_runs.lock)),
    "score map": Reader("safetensors", of_runs.in_run("cam/made%2Fup0.safetensors", of_runs.scores)),
    "state, model": Reader("safetensors", of_runs.state("model.safetensors")),
    "state, tensors": Reader("safetensors", of_runs.state("train_state.safetensors")),
    "state, json": Reader("json", of_runs.state("train_state.json")),
    "model": Reader("safetensors", of_runs.model),
    "weights .safetensors": Reader("safetensors", of_weights.weights(".safetensors", of_weights.save_safetensors)),
    "weights .pth": Reader("zip", of_weights.weights(".pth", of_weights.save_zip)),
    "weights .pth, old": Reader("binary", of_weights.weights(".pth", of_weights.save_legacy)),
    "weights .params": Reader("binary", of_weights.weights(".params", of_weights.save_params)),
    "weights .caffemodel": Reader("binary", of_weights.weights(".caffemodel", of_weights.save_caffe)),
    "photo .jpg": Reader("binary", of_data.picture(".jpg")),
    "photo .png": Reader("png", of_data.picture(".png")),
    "photo .tif": Reader("binary", of_data.picture(".tif", compression="tiff_lzw")),
    "photo .webp": Reader("binary", of_data.picture(".webp")),
    "photo .bmp": Reader("binary", of_data.picture(".bmp")),
    "mask": Reader("png", of_data.mask),
    "SBD .mat": Reader("mat", of_data.mat),
    "labels .npy": Reader("binary", of_data.labels),
    "maps .npy": Reader("binary", of_data.cams(".npy")),
    "maps .pkl": Reader("binary", of_data.cams(".pkl")),
    "labels .csv": Reader("text", of_data.table("labels.csv", "image,labels\np0.jpg,dog;cat\np1,cow\na/p2.png,\n")),
    "labels .jsonl": Reader("jsonl", of_data.table("labels.jsonl", _LINES)),
    "names .json": Reader("json", of_data.names("names.json", '["background", "cat", "dog"]')),
    "names .txt": Reader("text", of_data.names("names.txt", "0 background\n1 cat\n2 dog\n")),
    "colours": Reader("json", of_data.colours),
    "recipe": Reader("text", of_data.recipe),
    "VOC XML": Reader("text", of_data.data_set("voc", "XML")),
    "VOC list": Reader("text", of_data.data_set("voc", "LIST")),
    "folder CSV": Reader("text", of_data.data_set("folder, CSV", "TABLE")),
    "COCO JSON": Reader("json", of_data.data_set("coco", "INSTANCES")),
    "imagefolder": Reader("jsonl", of_data.data_set("huggingface, imagefolder", "METADATA"), slow=True),
    "parquet": Reader("binary", of_data.data_set("huggingface, parquet", "PARQUET"), slow=True),
}
READERS |= {name: Reader(form, make) for name, (form, make) in DRAWN.items()}
