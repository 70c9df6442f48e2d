package bootstrapsigner

import (
	"maps"
	"testing"
)

func TestPlan(t *testing.T) {
	have := map[string]string{content: "text", "other": "kept", signaturePrefix + "gone00": "x", signaturePrefix + "abcdef": "wrong"}
	want, err := plan(have, map[string][]byte{"abcdef": []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != 3 || want["other"] != "kept" || want[content] != "text" {
		t.Fatalf("%v", want)
	}
	// The same signature as by the reference: printf '%s.%s' HEADER PAYLOAD | openssl dgst -sha256 -hmac 0123456789abcdef -binary | basenc --base64url
	if got := want[signaturePrefix+"abcdef"]; got != "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..v28Ea_KqmHOtFWksJ_4tbV6AFRNzMkrRUG_jsuLJz-4" {
		t.Errorf("signature: %s", got)
	}
	if again, err := plan(want, map[string][]byte{"abcdef": []byte("0123456789abcdef")}); err != nil || !maps.Equal(again, want) {
		t.Errorf("a second plan: %v, %v", again, err)
	}
	if bare, err := plan(map[string]string{signaturePrefix + "abcdef": "x"}, nil); err != nil || len(bare) != 0 {
		t.Errorf("without content: %v, %v", bare, err)
	}
}
