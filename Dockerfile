# Builds Wrasse and puts it beside Node.js, which most MCP servers need. The warden is PID 1: no --init is needed.
#   docker build -t wrasse .
#   docker run --name wrasse -v wrasse:/home/node/.wrasse -v ~/.openclaw:/home/node/.openclaw:ro \
#     wrasse gateway run --config /home/node/.openclaw/openclaw.json
#   docker exec wrasse wrasse ps
# The door listens on the container's own loopback: ask it through `docker exec`.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -qy --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p wrasse

FROM node:22-bookworm-slim
# What npm needs to build the native parts of some servers (the sqlite one, for example).
RUN apt-get update \
    && apt-get install -qy --no-install-recommends python3 make g++ \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o node -g node -m 0700 /home/node/.wrasse
COPY --from=build /src/target/release/wrasse /src/target/release/wrasse-shim /usr/local/bin/
USER node
ENV WRASSE_STATE_DIR=/home/node/.wrasse
VOLUME /home/node/.wrasse
STOPSIGNAL SIGTERM
ENTRYPOINT ["wrasse"]
CMD ["gateway", "run"]
