# Two ways to the same image:
#   docker build --tag sidewatch .      compiles in a container; for everybody
#   make image                          takes a binary that is built already, and needs no network (target `prebuilt`)
# The image holds one static binary and nothing else.

FROM scratch AS base
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sidewatch" \
      org.opencontainers.image.description="Watches sidecars and says when one lets its Pod down" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A number, so that `runAsNonRoot` can be checked without an /etc/passwd.
USER 65532:65532
# metrics, health
EXPOSE 8080 8081
ENTRYPOINT ["/sidewatch"]
CMD ["run"]

# Its context is the directory that the binary is in. Before `build`, so that no builder starts that one for it.
FROM base AS prebuilt
COPY sidewatch /sidewatch

FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# The target is named, or build scripts and procedural macros would have to be static as well.
RUN target="$(rustc --print host-tuple)" \
 && RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --package sidewatch --bin sidewatch --target "$target" \
 && cp "target/$target/release/sidewatch" /sidewatch

FROM base
COPY --from=build /sidewatch /sidewatch
