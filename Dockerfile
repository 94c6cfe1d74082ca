# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
# ring and the allocator compile a little C.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc=4:12.2.0-3 libc6-dev=2.36-* make=4.3-* \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Alone and without tests or examples: only so the certificate check is certainly in it. What cargo has downloaded and
# compiled is kept from build to build.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tautan \
    && install -D target/release/tautan /out/tautan

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin tautan \
    && install -d -o tautan -g tautan -m 0700 /data
COPY --from=build /out/tautan /usr/local/bin/tautan
# The roots that a Redis over TLS is checked against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 10001:10001
ENV TAUTAN_LISTEN=0.0.0.0:8080 \
    TAUTAN_DATA_DIR=/data
# Nothing is written anywhere else: the root file system may be read-only.
VOLUME /data
EXPOSE 8080
# SIGTERM drains; give it longer than the program's own grace.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s --retries=3 CMD ["/usr/local/bin/tautan", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/tautan"]
