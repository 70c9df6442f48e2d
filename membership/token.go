package membership

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Roles of tokens: what their holder may join as.
const (
	RoleMaster = "master"
	RoleNode   = "node"
)

// Groups of those who come with a token of a role. The node's is kubeadm's.
const (
	MastersGroup = "system:bootstrappers:wheelhouse:masters"
	NodesGroup   = "system:bootstrappers:kubeadm:default-node-token"
)

// TokenUserPrefix begins the name of a user who has authenticated with a token; the token's ID follows.
const TokenUserPrefix = "system:bootstrap:"

// SecretType and SecretPrefix are the type, and what the names begin with, of the Secrets in kube-system that hold tokens.
const (
	SecretType   corev1.SecretType = "bootstrap.kubernetes.io/token"
	SecretPrefix                   = "bootstrap-token-"
)

// The keys of a token's Secret, and the usages a token can have.
const (
	keyID          = "token-id"
	keySecret      = "token-secret"
	keyExpiration  = "expiration"
	keyDescription = "description"
	keyGroups      = "auth-extra-groups"
	usagePrefix    = "usage-bootstrap-"

	usageAuthentication = "authentication"
	usageSigning        = "signing"
)

// Token is a bootstrap token: its ID is no secret.
type Token struct{ ID, Secret string }

func (t Token) String() string { return t.ID + "." + t.Secret }

var (
	tokenForm   = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)
	tokenIDForm = regexp.MustCompile(`^[a-z0-9]{6}$`)
	groupForm   = regexp.MustCompile(`^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`)
)

// ParseToken reads a token as it is printed.
func ParseToken(text string) (Token, error) {
	parts := tokenForm.FindStringSubmatch(text)
	if parts == nil {
		return Token{}, errors.New(`this is no token: it must look like "abcdef.0123456789abcdef"`)
	}
	return Token{ID: parts[1], Secret: parts[2]}, nil
}

// ParseTokenID reads a token, or its ID alone.
func ParseTokenID(text string) (string, error) {
	if tokenIDForm.MatchString(text) {
		return text, nil
	}
	t, err := ParseToken(text)
	if err != nil {
		return "", fmt.Errorf("%q is neither a token nor the six characters of a token's ID", text)
	}
	return t.ID, nil
}

// NewToken makes a token up.
func NewToken() (Token, error) {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	text := make([]byte, 22)
	for i := range text {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			return Token{}, err
		}
		text[i] = letters[n.Int64()]
	}
	return Token{ID: string(text[:6]), Secret: string(text[6:])}, nil
}

// TokenSpec is what a token is made with, and what is known of one that exists.
type TokenSpec struct {
	Token       Token
	Description string
	// Expires is zero for a token that never does.
	Expires time.Time
	// Usages are authentication and signing, and Groups what its holder belongs to besides system:bootstrappers.
	Usages, Groups []string
}

// TokenFor is a token of a role; ttl 0 lets it live for ever.
func TokenFor(role string, ttl time.Duration, now time.Time) (TokenSpec, error) {
	s := TokenSpec{Usages: []string{usageAuthentication, usageSigning}}
	switch role {
	case RoleMaster:
		s.Groups, s.Description = []string{MastersGroup}, "Lets a master join."
	case RoleNode:
		s.Groups = []string{NodesGroup}
	default:
		return s, fmt.Errorf("--role %q: use %s or %s", role, RoleMaster, RoleNode)
	}
	switch {
	case ttl < 0:
		return s, fmt.Errorf("--ttl %v: a token cannot have expired when it is made; 0 lets it live for ever", ttl)
	case ttl > 0:
		s.Expires = now.Add(ttl)
	}
	var err error
	s.Token, err = NewToken()
	return s, err
}

// Check finds what the authenticator would not understand.
func (s *TokenSpec) Check() error {
	for _, usage := range s.Usages {
		if usage != usageAuthentication && usage != usageSigning {
			return fmt.Errorf("--usages %q: use %s and %s", usage, usageAuthentication, usageSigning)
		}
	}
	for _, group := range s.Groups {
		if !groupForm.MatchString(group) {
			return fmt.Errorf("--groups %q: a token's groups begin with system:bootstrappers:", group)
		}
	}
	return nil
}

// Secret is the object that keeps the token.
func (s *TokenSpec) Secret() *corev1.Secret {
	data := map[string][]byte{keyID: []byte(s.Token.ID), keySecret: []byte(s.Token.Secret)}
	if s.Description != "" {
		data[keyDescription] = []byte(s.Description)
	}
	if !s.Expires.IsZero() {
		data[keyExpiration] = []byte(s.Expires.UTC().Format(time.RFC3339))
	}
	for _, usage := range s.Usages {
		data[usagePrefix+usage] = []byte("true")
	}
	if len(s.Groups) > 0 {
		data[keyGroups] = []byte(strings.Join(s.Groups, ","))
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: SecretPrefix + s.Token.ID},
		Type:       SecretType, Data: data,
	}
}

// TokenOf reads a token's Secret; false if it holds none.
func TokenOf(secret *corev1.Secret) (TokenSpec, bool) {
	token := Token{ID: string(secret.Data[keyID]), Secret: string(secret.Data[keySecret])}
	if secret.Type != SecretType || secret.Name != SecretPrefix+token.ID || !tokenForm.MatchString(token.String()) {
		return TokenSpec{}, false
	}
	s := TokenSpec{Token: token, Description: string(secret.Data[keyDescription])}
	if text := string(secret.Data[keyExpiration]); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return TokenSpec{}, false
		}
		s.Expires = at
	}
	for _, usage := range []string{usageAuthentication, usageSigning} {
		if string(secret.Data[usagePrefix+usage]) == "true" {
			s.Usages = append(s.Usages, usage)
		}
	}
	if groups := string(secret.Data[keyGroups]); groups != "" {
		s.Groups = strings.Split(groups, ",")
	}
	return s, true
}

// Admits tells whether the token lets a master join, and if not why.
func (s *TokenSpec) Admits(now time.Time) error {
	switch {
	case !s.Expires.IsZero() && !now.Before(s.Expires):
		return errors.New("the token has expired: make another with wheelhouse token create")
	case !slices.Contains(s.Groups, MastersGroup):
		return errors.New("the token is not one for masters: make one with wheelhouse token create --role master")
	}
	return nil
}

// JoinLine is the command that joins with the token, for a master to any of the servers, for a node to the first.
func JoinLine(role string, servers []string, token Token, hashes []string) string {
	var line string
	if role == RoleNode {
		line = "kubeadm join " + strings.TrimPrefix(servers[0], "https://")
	} else {
		line = "wheelhouse server --join " + strings.Join(servers, ",")
	}
	line += " --token " + token.String()
	for _, hash := range hashes {
		line += " --discovery-token-ca-cert-hash " + hash
	}
	return line
}
