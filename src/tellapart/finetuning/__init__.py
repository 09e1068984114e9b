"""Training in depth: any backbone, one cycle, unfreezing; what needs torch needs the extra `finetune`."""
