package master

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/wheelhouse-k8s/wheelhouse/encryption"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// sharedKey is where the present generation of the shared files is announced.
const sharedKey = registry.Root + "wheelhouse/shared"

// share makes this master's authority and keys those of the cluster: it may have been down when they were changed. The
// store is open, and nothing that is in it has been read.
func (m *Master) share(ctx context.Context) error {
	m.shares = &membership.Shares{
		Store: m.store, Key: sharedKey, Parts: m.sharedParts(), Self: m.identity, Log: m.config.Log,
		Fetch: func(ctx context.Context, from membership.Master) (membership.Bundle, error) {
			var b membership.Bundle
			err := m.ask(ctx, from.URL, "shared", &b)
			return b, err
		},
		Ask: func(ctx context.Context, of membership.Master) (int64, error) {
			var g generation
			err := m.ask(ctx, of.URL, "shared/generation", &g)
			return g.Generation, err
		},
	}
	m.publish = m.shares
	others, err := m.recorded(ctx)
	if err != nil {
		return err
	}
	if m.joining != nil && !slices.ContainsFunc(others, func(o membership.Master) bool { return o.Name == m.joining.grant.Master }) {
		return fmt.Errorf("the store that this master has come to is not that of %s: with an etcd of its own, --etcd-servers and --etcd-prefix must be those of the other masters", m.joining.grant.Server)
	}
	m.shares.Masters = func() []membership.Master { return others }
	if err := m.shares.CatchUp(ctx); errors.Is(err, store.ErrUnavailable) {
		return err
	} else if err != nil {
		m.config.warn("%v", err)
	}
	m.shares.Masters = m.masters
	return nil
}

// sharedParts are all files that masters have alike.
func (m *Master) sharedParts() []membership.Shared {
	return []membership.Shared{sharedAuthority{m.authority}, sharedKeys{m}}
}

// sharedKeys are the encryption keys, if the masters keep them, as a part of the shared files.
type sharedKeys struct{ m *Master }

func (s sharedKeys) file() string { return filepath.Join(s.m.config.DataDir, encryptionFile) }

// Files implements membership.Shared.
func (s sharedKeys) Files() (map[string][]byte, error) {
	if !s.m.config.managesKeys() {
		return nil, nil
	}
	data, err := os.ReadFile(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return map[string][]byte{encryptionFile: data}, err
}

// Install implements membership.Shared.
func (s sharedKeys) Install(files map[string][]byte) error {
	data, ok := files[encryptionFile]
	if !ok || !s.m.config.managesKeys() {
		return nil
	}
	if have, err := os.ReadFile(s.file()); err == nil && bytes.Equal(have, data) {
		return nil
	}
	if err := encryption.WriteFile(s.file(), data); err != nil {
		return err
	}
	if s.m.encryption == nil {
		return nil // it is about to be read for the first time
	}
	return s.m.encryption.Reload(context.Background())
}

// giveShared gives the shared files, keys included, to another master: nobody else, whatever role it was given.
func (m *Master) giveShared(r *http.Request, _ struct{}) (membership.Bundle, error) {
	if err := m.demandPrivilege(r, "shared"); err != nil {
		return membership.Bundle{}, err
	}
	return m.shares.Bundle()
}

// demandPrivilege refuses who could not read the keys of the authority anyway: anybody but another master or an administrator, who
// shows a certificate of the group of those who may do all, and whoever comes by this machine's socket. No role, token or
// impersonation is enough: roles can be given by who may write roles, keys cannot.
func (m *Master) demandPrivilege(r *http.Request, what string) error {
	caller, _ := request.UserFrom(r.Context())
	if caller == nil || !slices.Contains(caller.GetGroups(), user.SystemPrivilegedGroup) || !local(r) && !provesGroup(r, m.authority.ClientPool(), m.config.Now()) {
		return apierrors.NewForbidden(schema.GroupResource{}, what, errors.New("only masters, and administrators with a certificate of the group "+user.SystemPrivilegedGroup+
			", such as the one in admin.kubeconfig, get it, whatever roles others have; on the master itself, wheelhouse --server unix://DATA-FOLDER/"+socketName+" does too"))
	}
	return nil
}

// provesGroup tells whether the connection itself is one of an administrator, by its certificate. The request's user may be
// one whom somebody impersonates, or whom a token names.
func provesGroup(r *http.Request, authorities *x509.CertPool, now time.Time) bool {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	options := x509.VerifyOptions{
		Roots: authorities, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range r.TLS.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	leaf := r.TLS.PeerCertificates[0]
	_, err := leaf.Verify(options)
	return err == nil && slices.Contains(leaf.Subject.Organization, user.SystemPrivilegedGroup)
}

type generation struct {
	Generation int64 `json:"generation"`
}

func (m *Master) tellGeneration(context.Context, struct{}) (generation, error) {
	return generation{m.shares.Generation()}, nil
}
