# The program alone on an image without a shell: it needs no file but its database's.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /gatehouse ./cmd/gatehouse \
 && mkdir /data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /gatehouse /usr/local/bin/gatehouse
COPY --from=build --chown=nonroot:nonroot /data /data
WORKDIR /
VOLUME /data
EXPOSE 8181
# Beyond loopback it refuses to start until GATEHOUSE_REGISTRY_TOKEN or GATEHOUSE_TOKENS_FILE is set.
ENV GATEHOUSE_LISTEN=0.0.0.0:8181
ENTRYPOINT ["gatehouse"]
CMD ["serve"]
