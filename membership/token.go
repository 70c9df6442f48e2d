package membership

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"regexp"
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

// Groups of those who come with a token of a role. The node's is kubeadm's. The masters' opens the door at which they ask to join and no
// more: whoever has it, by whatever means, has to show a token that a master made.
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

// Token lets a node join, and is then a bootstrap token as upstream has it, or a master, and then has a longer secret that only masters
// can make (see Invitations). Its ID is no secret.
type Token struct{ ID, Secret string }

func (t Token) String() string { return t.ID + "." + t.Secret }

var (
	tokenForm   = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16}|[a-z0-9]{25})$`)
	nodesForm   = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)
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

// letters that tokens are made of, and the length of an ID and of a node's secret.
const (
	letters       = "0123456789abcdefghijklmnopqrstuvwxyz"
	tokenIDLength = 6
	nodeSecret    = 16
)

// NewToken makes up a token for nodes.
func NewToken() (Token, error) {
	text, err := randomText(tokenIDLength + nodeSecret)
	if err != nil {
		return Token{}, err
	}
	return Token{ID: text[:tokenIDLength], Secret: text[tokenIDLength:]}, nil
}

func randomText(length int) (string, error) {
	text := make([]byte, length)
	for i := range text {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			return "", err
		}
		text[i] = letters[n.Int64()]
	}
	return string(text), nil
}

// TokenSpec is what a node's token is made with, and what is known of one that exists.
type TokenSpec struct {
	Token       Token
	Description string
	// Expires is zero for a token that never does.
	Expires time.Time
	// Usages are authentication and signing, and Groups what its holder belongs to besides system:bootstrappers.
	Usages, Groups []string
}

// TokenForNodes is a token with which nodes join; ttl 0 lets it live for ever.
func TokenForNodes(ttl time.Duration, now time.Time) (TokenSpec, error) {
	s := TokenSpec{Usages: []string{usageAuthentication, usageSigning}, Groups: []string{NodesGroup}}
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
	if !nodesForm.MatchString(s.Token.String()) {
		return errors.New(`a token for nodes must look like "abcdef.0123456789abcdef"`)
	}
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
	if secret.Type != SecretType || secret.Name != SecretPrefix+token.ID || !nodesForm.MatchString(token.String()) {
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
