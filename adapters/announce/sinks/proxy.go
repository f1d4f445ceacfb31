package sinks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"golang.org/x/net/http/httpproxy"
)

// proxyOfEnvironment stands for HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
const proxyOfEnvironment = "environment"

// parseProxy gives which proxy leads to a target, nil for none. Its errors do not repeat what it was given, which may
// hold a password.
func parseProxy(text string) (func(target *url.URL) (*url.URL, error), error) {
	switch text {
	case "":
		return func(*url.URL) (*url.URL, error) { return nil, nil }, nil
	case proxyOfEnvironment:
		choose := httpproxy.FromEnvironment().ProxyFunc()
		return func(target *url.URL) (*url.URL, error) {
			proxy, err := choose(target)
			if err != nil {
				return nil, errors.New("the proxy of the environment is no URL")
			}
			return proxy, nil
		}, nil
	}
	proxy, err := url.Parse(text)
	if err != nil || proxy.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5"}, proxy.Scheme) {
		return nil, fmt.Errorf("want %s, or http://host:port (https and socks5 will do, too)", proxyOfEnvironment)
	}
	return func(*url.URL) (*url.URL, error) { return proxy, nil }, nil
}

// errProxy is what a proxy answers in place of a connection.
type errProxy int

func (e errProxy) Error() string { return fmt.Sprintf("the proxy answered %d", int(e)) }

// connected is a transport's OnProxyConnectResponse.
func connected(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode != http.StatusOK {
		return errProxy(answer.StatusCode)
	}
	return nil
}
