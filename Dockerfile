# Two commands build the same image:
#   docker build --tag sidewatch .      compiles in a container
#   make image                          uses an existing binary and needs no network (target `prebuilt`)
# The image contains only one static binary.

FROM scratch AS base
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sidewatch" \
      org.opencontainers.image.description="Reports sidecars that fail or block their Pod" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A numeric user: the kubelet can check `runAsNonRoot` without an /etc/passwd.
USER 65532:65532
# Ports: metrics, health.
EXPOSE 8080 8081
ENTRYPOINT ["/sidewatch"]
CMD ["run"]

# The build context is the directory of the binary. This stage comes before `build`, so that no builder runs `build` for it.
FROM base AS prebuilt
COPY sidewatch /sidewatch

FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# `--target` limits the static linking to the binary. Without it, RUSTFLAGS also apply to build scripts and procedural macros.
RUN target="$(rustc --print host-tuple)" \
 && RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --package sidewatch --bin sidewatch --no-default-features --target "$target" \
 && cp "target/$target/release/sidewatch" /sidewatch

FROM base
COPY --from=build /sidewatch /sidewatch
