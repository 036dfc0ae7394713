# Predicting on the processor. Built by nobody yet: the project's own machines have no container engine.
#     docker build -t supervision .
#     docker run --rm -v "$PWD:/files:ro" supervision /files/crystal.cif
FROM python:3.13-slim

WORKDIR /supervision
COPY requirements-predict.txt .
# PyTorch's own index has the build without CUDA; its version satisfies the pin of the next line.
RUN pip install --no-cache-dir torch==2.13.0 torchvision==0.28.0 --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir -r requirements-predict.txt
COPY . .
RUN useradd --create-home reader
USER reader
ENTRYPOINT ["python", "predict.py"]
