package registry

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// inconsistentContinue is what a client is told whose continue token has outlived the store's history.
const inconsistentContinue = "The provided continue parameter is too old to display a consistent list result. " +
	"You can start a new list without the continue parameter, or use the continue token in this response to retrieve " +
	"the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that " +
	"were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."

// continueVersion of the tokens, which are upstream's: the other kind of API server of one cluster understands them.
const continueVersion = "meta.k8s.io/v1"

// continueToken is where a list goes on. Revision -1 means the present state.
type continueToken struct {
	Version  string `json:"v"`
	Revision int64  `json:"rv"`
	// Start key, relative to the scope of the list.
	Start string `json:"start"`
}

func encodeContinue(key, scope string, revision int64) string {
	b, err := json.Marshal(continueToken{continueVersion, revision, strings.TrimPrefix(key, scope)})
	if err != nil {
		return "" // cannot happen: two strings and a number
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeContinue gives the key and the revision. The key is always within the scope.
func decodeContinue(token, scope string) (key string, revision int64, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", 0, fmt.Errorf("continue key is not valid: %v", err)
	}
	var c continueToken
	if err := json.Unmarshal(b, &c); err != nil {
		return "", 0, fmt.Errorf("continue key is not valid: %v", err)
	}
	switch {
	case c.Version != continueVersion:
		return "", 0, fmt.Errorf("continue key is not valid: server does not recognize this encoded version %v", c.Version)
	case c.Revision == 0:
		return "", 0, errors.New("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	case c.Start == "":
		return "", 0, errors.New("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
	}
	start := c.Start
	if !strings.HasPrefix(start, "/") {
		start = "/" + start
	}
	// A key that path.Clean would change could lead out of the scope.
	if path.Clean(start) != start {
		return "", 0, fmt.Errorf("continue key is not valid: %v", c.Start)
	}
	return scope + start[1:], c.Revision, nil
}
