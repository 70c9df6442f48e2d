package master

import (
	"context"
	"crypto/tls"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/patch"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// build makes the registry and the API server on the opened store; nothing runs yet.
func (m *Master) build() (err error) {
	c := &m.config
	m.registry, err = registry.New(registry.Options{Store: m.store, Kinds: kinds(), Reservers: map[schema.GroupResource]registry.Reserver{}})
	if err != nil {
		return err
	}
	tokens, err := auth.NewTokens(auth.TokenOptions{
		Registry: m.registry, Issuers: c.ServiceAccountIssuers, Audiences: c.APIAudiences,
		Key: m.authority.TokenKey, Keys: m.authority.TokenKeys, MaxLife: c.MaxTokenExpiration,
	})
	if err != nil {
		return err
	}
	audiences := c.APIAudiences
	if len(audiences) == 0 {
		audiences = c.ServiceAccountIssuers
	}
	authentication := auth.NewAuthenticator(auth.AuthenticatorOptions{
		ClientCAs:       m.authority.ClientPool,
		FrontProxyCAs:   m.authority.FrontProxyPool,
		FrontProxyNames: []string{"front-proxy-client"},
		Tokens:          []authenticator.Token{tokens, auth.NewBootstrapTokens(m.registry)},
		Audiences:       audiences,
		NoAnonymous:     !c.AnonymousAuth,
	})
	if m.authorizer, err = auth.NewAuthorizer(m.registry); err != nil {
		return err
	}
	m.server = apiserver.New(apiserver.Options{
		Registry:      m.registry,
		Kinds:         kinds(),
		Authenticator: authentication,
		Authorizer:    m.authorizer,
		Tracker:       patch.NewTracker(),
		Reviewer:      &auth.Reviews{Authenticator: authentication, Authorizer: m.authorizer},
		Tokens:        tokens,
		Paths:         m.paths(),
		MaxReads:      c.MaxRequestsInflight,
		MaxWrites:     c.MaxMutatingInflight,
		Timeout:       c.RequestTimeout,
		MinWatch:      c.MinRequestTimeout,
	})
	return nil
}

// bootstrap makes the objects that every cluster has, as far as they are missing.
func (m *Master) bootstrap(ctx context.Context) error {
	return m.authorizer.Sync(ctx)
}

// serve answers HTTPS requests until ctx ends.
func (m *Master) serve(ctx context.Context) error {
	config, err := m.tls()
	if err != nil {
		return err
	}
	m.readyOnce.Do(func() { close(m.ready) })
	return m.server.Serve(ctx, m.listener, config)
}

func (m *Master) tls() (*tls.Config, error) {
	c := &m.config
	config := &tls.Config{
		GetCertificate: m.authority.GetCertificate,
		ClientAuth:     tls.RequestClientCert, // the authenticator verifies it: a wrong one is answered with 401
	}
	switch c.TLSMinVersion {
	case "", "VersionTLS12":
		config.MinVersion = tls.VersionTLS12
	case "VersionTLS13":
		config.MinVersion = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("--tls-min-version %q: use VersionTLS12 or VersionTLS13", c.TLSMinVersion)
	}
	if c.TLSCertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert-file: %w", err)
		}
		config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config, nil
}
