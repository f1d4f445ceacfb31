package sinks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/molecule-ai/gatehouse/internal/rereadfile"
)

const (
	defaultSubject = "gatehouse.events"
	natsTimeout    = 2 * time.Second // for connecting to one server
	// A server that vanished without closing the connection is noticed after two pings.
	natsPing          = 10 * time.Second
	natsReconnectWait = 500 * time.Millisecond
)

// NATS is the settings of a NATS subject.
type NATS struct {
	// URL is a comma-separated list of nats://… or tls://….
	URL Secret `json:"url"`
	// Subject is where events are published (gatehouse.events), Stream the JetStream stream that must take them (any).
	Subject string `json:"subject,omitzero"`
	Stream  string `json:"stream,omitzero"`
	// CredentialsFile is a NATS .creds file.
	CredentialsFile string `json:"credentials_file,omitzero"`
}

// Validate implements Settings.
func (n NATS) Validate() error {
	if n.URL == "" {
		return errNoURL
	}
	if strings.ContainsAny(n.Subject, " \t\r\n*>") {
		return errors.New("subject: spaces and wildcards cannot be published to")
	}
	if strings.ContainsAny(n.Stream, " \t\r\n*>.") {
		return errors.New("stream: not a stream's name")
	}
	return validate(n.settings())
}

func (n NATS) settings() []setting {
	return []setting{{"url", n.URL, func(text string) error {
		_, err := parseNATSURL(text)
		return err
	}}}
}

// jetStream publishes each event as a CloudEvent, with its id as Nats-Msg-Id:
// JetStream drops what it has seen before in its time for duplicates. An event is
// delivered when the stream has acknowledged it.
type jetStream struct {
	name    string
	address *rereadfile.File[natsAddress]
	subject string
	source  string
	options []jetstream.PublishOpt
	conn    *nats.Conn
	stream  jetstream.JetStream
}

// Open implements Settings. It connects in the background, as it does again when a connection is lost. A login in a file
// that changes is used for the next connection, other servers after a restart.
func (n NATS) Open(name string, deps Dependencies) (OpenSink, error) {
	address, err := watch(name, deps.Report, n.settings(), func(texts []string) (natsAddress, error) {
		return parseNATSURL(texts[0])
	})
	if err != nil {
		return nil, err
	}
	sink := &jetStream{name: name, address: address, subject: cmp.Or(n.Subject, defaultSubject), source: deps.Source}
	// The queue alone counts and delays attempts.
	sink.options = append(sink.options, jetstream.WithRetryAttempts(0))
	if n.Stream != "" {
		sink.options = append(sink.options, jetstream.WithExpectStream(n.Stream))
	}
	sink.conn, err = nats.Connect(strings.Join(address.Get().servers, ","), sink.connection(n.CredentialsFile, deps.Log.With("sink", name))...)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS: %w", address.Get().withoutPassword(err))
	}
	sink.stream, err = jetstream.New(sink.conn)
	if err != nil {
		sink.conn.Close()
		return nil, fmt.Errorf("preparing JetStream: %w", address.Get().withoutPassword(err))
	}
	return sink, nil
}

func (s *jetStream) connection(credentialsFile string, log *slog.Logger) []nats.Option {
	options := []nats.Option{
		nats.Name("gatehouse"),
		nats.Timeout(natsTimeout),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(natsReconnectWait),
		nats.PingInterval(natsPing),
		nats.MaxPingsOutstanding(2),
		// A password may be changed on the server first.
		nats.IgnoreAuthErrorAbort(),
		// A message that is buffered for the next connection would be sent long after its attempt has failed and was retried.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("the connection to NATS is lost", "error", s.address.Get().withoutPassword(err))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("connected to NATS again") }),
		// Without a handler the library prints to standard error. The attempt that fails is logged by itself.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Debug("NATS", "error", s.address.Get().withoutPassword(err))
		}),
	}
	switch {
	case s.address.Get().password != "":
		options = append(options, nats.UserInfoHandler(func() (string, string) {
			now := s.address.Get()
			return now.username, now.password
		}))
	case s.address.Get().username != "":
		options = append(options, nats.TokenHandler(func() string { return s.address.Get().username }))
	}
	if credentialsFile != "" {
		options = append(options, nats.UserCredentials(credentialsFile))
	}
	return options
}

func (s *jetStream) Name() string { return s.name }

func (s *jetStream) Close() error {
	s.conn.Close()
	return nil
}

func (s *jetStream) Deliver(ctx context.Context, job Job) error {
	body, err := newCloudEvent(job, s.source)
	if err != nil {
		return err
	}
	if !s.conn.IsConnected() {
		return s.notConnected()
	}
	message := &nats.Msg{Subject: s.subject, Header: nats.Header{"content-type": {cloudEventsMediaType}}, Data: body}
	options := append([]jetstream.PublishOpt{jetstream.WithMsgID(job.EventID.String())}, s.options...)
	_, err = s.stream.PublishMsg(ctx, message, options...)
	switch {
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("no JetStream stream takes the subject %q", s.subject)
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no acknowledgement within the timeout")
	case err != nil:
		return fmt.Errorf("publishing to NATS: %w", s.address.Get().withoutPassword(err))
	}
	return nil
}

func (s *jetStream) notConnected() error {
	err := s.conn.LastError()
	if err == nil {
		return errors.New("not connected to NATS")
	}
	return fmt.Errorf("not connected to NATS: %w", s.address.Get().withoutPassword(err))
}

// natsAddress is where NATS is and how to log in there. The library gets the login
// apart from the servers, so that it cannot repeat it with their addresses.
type natsAddress struct {
	servers            []string
	username, password string // a username alone is a token
}

// parseNATSURL never repeats what it was given, as parseRedisURL does not.
func parseNATSURL(text string) (natsAddress, error) {
	var address natsAddress
	for part := range strings.SplitSeq(text, ",") {
		server, err := url.Parse(strings.TrimSpace(part))
		if err != nil || server.Opaque != "" || server.RawQuery != "" || server.Fragment != "" || strings.Trim(server.Path, "/") != "" {
			return natsAddress{}, errors.New(
				"not a list of nats://user:password@host:port (escape special characters in the password)")
		}
		if server.Scheme != "nats" && server.Scheme != "tls" {
			return natsAddress{}, errors.New("want the scheme nats or tls")
		}
		if server.Hostname() == "" {
			return natsAddress{}, errors.New("no host")
		}
		password, _ := server.User.Password()
		if address.servers == nil {
			address.username, address.password = server.User.Username(), password
		} else if server.User != nil && (server.User.Username() != address.username || password != address.password) {
			return natsAddress{}, errors.New("servers of one sink need the same login")
		}
		address.servers = append(address.servers, server.Scheme+"://"+server.Host)
	}
	return address, nil
}

// withoutPassword hides the login: some servers repeat what they were sent.
func (a natsAddress) withoutPassword(err error) error {
	text := err.Error()
	secret := a.password
	if secret == "" {
		secret = a.username
	}
	if secret == "" || !strings.Contains(text, secret) {
		return err
	}
	return errors.New(strings.ReplaceAll(text, secret, hidden))
}
