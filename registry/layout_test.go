package registry

import (
	"cmp"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/stored"
)

// mutations of each kind's object with every field set.
const mutations = 2000

// TestSound: what the walk over the bytes takes for sound does decode, for every kind, whatever a disk or a hand made of the bytes.
func TestSound(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(string(out))
	for _, info := range api.Kinds() {
		if !info.Stored() {
			continue
		}
		s := newLayout(info, info)
		file := cmp.Or(info.GVK.Group, "core") + "." + info.StorageVersion.Version + "." + info.GVK.Kind + ".pb"
		value, err := os.ReadFile(filepath.Join(dir, "testdata", "HEAD", file))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := s.Open(value)
		if err != nil {
			t.Fatal(err)
		}
		body := value[whole.Start:whole.End]
		if err := info.New().(kind.Message).Unmarshal(body); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		random := rand.New(rand.NewPCG(1, uint64(len(body))))
		taken, broken := 0, 0
		for range mutations {
			mutant := mutate(body, random)
			sound := s.Sound(&stored.Value{Bytes: mutant, End: uint32(len(mutant))})
			err := info.New().(kind.Message).Unmarshal(mutant)
			switch {
			case sound && err != nil:
				t.Fatalf("%s: taken for sound, but: %v", file, err)
			case sound:
				taken++
			case err != nil:
				broken++
			}
		}
		if broken == 0 {
			t.Errorf("%s: no mutation of %d bytes broke anything", file, len(body))
		}
		if !s.Sound(&whole) {
			t.Logf("%s is decoded to be sure", file)
		}
	}
}

// mutate changes a few bytes, cuts some out, or ends early.
func mutate(b []byte, random *rand.Rand) []byte {
	b = append([]byte(nil), b...)
	for range 1 + random.IntN(3) {
		if len(b) == 0 {
			return b
		}
		switch at := random.IntN(len(b)); random.IntN(6) {
		case 0, 1:
			b[at] ^= 1 << random.IntN(8)
		case 2:
			b[at] = byte(random.Uint32())
		case 3:
			b = b[:at]
		case 4:
			b = append(b[:at], b[min(len(b), at+1+random.IntN(4)):]...)
		default:
			b = append(b[:at], append([]byte{byte(random.Uint32()), byte(random.Uint32())}, b[at:]...)...)
		}
	}
	return b
}

// TestSoundIsUsual: ordinary objects are not decoded to be sure.
func TestSoundIsUsual(t *testing.T) {
	info := api.Of[*corev1.Pod]()
	s := newLayout(info, info)
	i, err := s.write("/registry/pods/default/x", commonPod("x"))
	if err != nil {
		t.Fatal(err)
	}
	if !s.Sound(&i.value) {
		t.Error("an ordinary pod is decoded to be sure")
	}
}
