# The kit in a container. CPU by default; with `--build-arg TORCH=cuda` the CUDA build of torch, for `docker run --gpus all`.
FROM python:3.11-slim

ARG TORCH=cpu
WORKDIR /kit
COPY requirements.txt .
# On Linux a plain install brings CUDA; the CPU build comes from torch's own index, at the pinned versions.
RUN if [ "$TORCH" = cpu ]; then \
        grep -E '^(torch|torchvision)==' requirements.txt > torch.txt && \
        pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu -r torch.txt; \
    fi && \
    pip install --no-cache-dir -r requirements.txt
COPY kit kit
ENV PYTHONPATH=/kit OMP_WAIT_POLICY=PASSIVE
# Data, folds, runs and submissions lie in the mounted folder.
WORKDIR /work
ENTRYPOINT ["python", "-m", "kit"]
CMD ["--help"]
