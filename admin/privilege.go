package admin

import (
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// Privilege keeps the keys that masters give each other from everybody else.
type Privilege struct {
	// Authorities are those of client certificates, at present.
	Authorities func() *x509.CertPool
	Now         func() time.Time
}

// Demand refuses who could not read the keys of the authority anyway: anybody but another master or an administrator, who
// shows a certificate of the group of those who may do all, and whoever comes by this machine's socket. No role, token or
// impersonation is enough: roles can be given by who may write roles, keys cannot.
func (p Privilege) Demand(r *http.Request, what string) error {
	caller, _ := request.UserFrom(r.Context())
	if caller == nil || !slices.Contains(caller.GetGroups(), user.SystemPrivilegedGroup) || !local(r) && !p.Proven(r) {
		return apierrors.NewForbidden(schema.GroupResource{}, what, errors.New("only masters, and administrators with a certificate of the group "+user.SystemPrivilegedGroup+
			", such as the one in admin.kubeconfig, get it, whatever roles others have; on the master itself, wheelhouse --server unix://DATA-FOLDER/"+SocketName+" does too"))
	}
	return nil
}

// Proven tells whether the connection itself is one of an administrator, by its certificate. The request's user may be
// one whom somebody impersonates, or whom a token names.
func (p Privilege) Proven(r *http.Request) bool {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	options := x509.VerifyOptions{
		Roots: p.Authorities(), Intermediates: x509.NewCertPool(), CurrentTime: p.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range r.TLS.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	leaf := r.TLS.PeerCertificates[0]
	_, err := leaf.Verify(options)
	return err == nil && slices.Contains(leaf.Subject.Organization, user.SystemPrivilegedGroup)
}
