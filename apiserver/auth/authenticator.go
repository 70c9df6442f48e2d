package auth

import (
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	requestx509 "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
)

// AuthenticatorOptions say whom an Authenticator trusts. What is left out is not asked.
type AuthenticatorOptions struct {
	// ClientCAs gives the authorities of client certificates. It may change while the server runs.
	ClientCAs func() *x509.CertPool
	// FrontProxyCAs gives the authorities of proxies that name the user in X-Remote- headers.
	FrontProxyCAs func() *x509.CertPool
	// FrontProxyNames are the common names that such a proxy's certificate may have; none means any.
	FrontProxyNames []string
	// Tokens are asked in this order for the user of a bearer token.
	Tokens []authenticator.Token
	// Audiences that tokens must be meant for.
	Audiences []string
	// NoAnonymous refuses requests without credentials.
	NoAnonymous bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authenticator finds out who asks: by what a trusted proxy says, by the client certificate, by the bearer token,
// and else the request is anonymous. Credentials that are wrong are refused and never taken as anonymous.
type Authenticator struct {
	proxy        authenticator.Request
	certificates *certificates
	tokens       []authenticator.Token
	webSocket    authenticator.Request
	audiences    authenticator.Audiences
	anonymous    *authenticator.Response
}

var _ authenticator.Request = &Authenticator{}

// errWrongToken is what a bearer token is refused with that nobody knows.
var errWrongToken = errors.New("invalid bearer token")

// Headers that carry what a front proxy says, as upstream's defaults.
var (
	// FrontProxyUserHeaders carry the user's name.
	FrontProxyUserHeaders = []string{"X-Remote-User"}
	// FrontProxyUIDHeaders carry the user's uid.
	FrontProxyUIDHeaders = []string{"X-Remote-Uid"}
	// FrontProxyGroupHeaders carry the user's groups.
	FrontProxyGroupHeaders = []string{"X-Remote-Group"}
	// FrontProxyExtraPrefixes begin the names of headers with further attributes.
	FrontProxyExtraPrefixes = []string{"X-Remote-Extra-"}
)

// NewAuthenticator makes an Authenticator.
func NewAuthenticator(o AuthenticatorOptions) *Authenticator {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Authenticator{tokens: o.Tokens, audiences: o.Audiences}
	if o.ClientCAs != nil {
		a.certificates = newCertificates(o.ClientCAs, o.Now)
	}
	if o.FrontProxyCAs != nil {
		a.proxy = headerrequest.NewDynamicVerifyOptionsSecure(
			verifyOptions(o.FrontProxyCAs, o.Now),
			headerrequest.StaticStringSlice(o.FrontProxyNames),
			headerrequest.StaticStringSlice(FrontProxyUserHeaders),
			headerrequest.StaticStringSlice(FrontProxyUIDHeaders),
			headerrequest.StaticStringSlice(FrontProxyGroupHeaders),
			headerrequest.StaticStringSlice(FrontProxyExtraPrefixes),
		)
	}
	if len(o.Tokens) > 0 {
		a.webSocket = websocket.NewProtocolAuthenticator(authenticator.TokenFunc(a.AuthenticateToken))
	}
	if !o.NoAnonymous {
		a.anonymous = &authenticator.Response{
			User:      &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}},
			Audiences: o.Audiences,
		}
	}
	return a
}

func verifyOptions(pool func() *x509.CertPool, now func() time.Time) requestx509.VerifyOptionFunc {
	return func() (x509.VerifyOptions, bool) {
		o := requestx509.DefaultVerifyOptions()
		o.Roots, o.CurrentTime = pool(), now()
		return o, o.Roots != nil
	}
}

// AuthenticateRequest gives the user of an HTTP request, an error if its credentials are wrong, and false if it has
// none and anonymous requests are refused. The response is shared and must not be changed.
func (a *Authenticator) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	var refused []error
	if a.proxy != nil && r.Header.Get(FrontProxyUserHeaders[0]) != "" {
		response, ok, err := a.proxy.AuthenticateRequest(r)
		if ok {
			return withGroup(response), true, nil
		}
		if err != nil {
			refused = append(refused, err)
		}
	}
	if a.certificates != nil {
		response, ok, err := a.certificates.authenticate(r)
		if ok {
			return response, true, nil
		}
		if err != nil {
			refused = append(refused, err)
		}
	}
	if len(a.tokens) > 0 {
		response, ok, err := a.bearer(r)
		if ok {
			return response, true, nil
		}
		if err != nil {
			refused = append(refused, err)
		}
	}
	if len(refused) > 0 {
		return nil, false, utilerrors.NewAggregate(refused)
	}
	return a.anonymous, a.anonymous != nil, nil
}

// bearer authenticates by the Authorization header, which it removes on success, or by a WebSocket's protocol.
func (a *Authenticator) bearer(r *http.Request) (*authenticator.Response, bool, error) {
	header := strings.TrimSpace(r.Header.Get("Authorization"))
	if header == "" {
		if r.Header.Get("Sec-WebSocket-Protocol") == "" {
			return nil, false, nil
		}
		return a.webSocket.AuthenticateRequest(r)
	}
	scheme, token, found := strings.Cut(header, " ")
	if !found || !strings.EqualFold(scheme, "bearer") {
		return nil, false, nil
	}
	if token, _, _ = strings.Cut(token, " "); token == "" {
		return nil, false, nil
	}
	ctx := r.Context()
	if len(a.audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, a.audiences)
	}
	response, ok, err := a.AuthenticateToken(ctx, token)
	if ok {
		r.Header.Del("Authorization")
		return response, true, nil
	}
	if err == nil {
		err = errWrongToken
	}
	return nil, false, err
}

// withGroup adds the group of all authenticated users.
func withGroup(r *authenticator.Response) *authenticator.Response {
	groups := r.User.GetGroups()
	if r.User.GetName() == user.Anonymous || slices.Contains(groups, user.AllAuthenticated) || slices.Contains(groups, user.AllUnauthenticated) {
		return r
	}
	return &authenticator.Response{
		User: &user.DefaultInfo{
			Name: r.User.GetName(), UID: r.User.GetUID(), Extra: r.User.GetExtra(),
			Groups: append(slices.Clone(groups), user.AllAuthenticated),
		},
		Audiences: r.Audiences,
	}
}
