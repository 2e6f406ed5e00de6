"""From a trained tagger (the student, or any Hugging Face token classifier) to a checked int8 ONNX bundle."""
