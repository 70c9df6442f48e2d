package stored

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// decodedIdentity is what decoding all metadata tells.
func decodedIdentity(value []byte) (Identity, error) {
	var o metav1.PartialObjectMetadata
	_, _, payload, err := wire.Open(value)
	if err == nil {
		err = o.Unmarshal(payload)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(value, &o)
	}
	is := Identity{Name: o.Name, Namespace: o.Namespace}
	for _, ref := range o.OwnerReferences {
		is.Owners = append(is.Owners, ref.UID)
	}
	return is, err
}

// TestIdentity: what is read of an object of any kind is what decoding its metadata tells, in each form in which API servers write objects,
// whatever a disk or a hand made of the bytes.
func TestIdentity(t *testing.T) {
	full := strings.Replace(full, `"\"\u2028":"",`, "", 1) // names with escapes are left to the library
	k := widgets(kind.Rules[custom.Object]{})
	ours, err := Of(k, k).Encode(widget(t, full))
	if err != nil {
		t.Fatal(err)
	}
	var sorted any
	if err := json.Unmarshal(ours.Bytes, &sorted); err != nil {
		t.Fatal(err)
	}
	upstreams, err := json.Marshal(sorted)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: widget(t, full).ObjectMeta, Spec: corev1.PodSpec{NodeName: "n"}}
	body, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	envelope := wire.NewEnvelope("v1", "Pod")
	want := Identity{Name: "x", Namespace: "y", Owners: []types.UID{"o1", "o2"}}
	random := rand.New(rand.NewPCG(13, 14))
	for form, whole := range map[string][]byte{"ours": append(ours.Bytes, '\n'), "upstream's": append(upstreams, '\n'), "protobuf": envelope.Append(nil, body)} {
		if is, err := IdentityOf(whole); err != nil || !reflect.DeepEqual(is, want) {
			t.Errorf("%s: %+v, %v", form, is, err)
		}
		if _, ok := identityInPlace(whole[:len(whole)-1]); ok == (form == "protobuf") {
			t.Errorf("%s: read where it stands: %v", form, ok)
		}
		same, broken := 0, 0
		for range 20_000 {
			b := slices.Clone(whole)
			for range 1 + random.IntN(2) {
				at := random.IntN(len(b))
				switch random.IntN(3) {
				case 0:
					b[at] = byte(random.Uint32())
				case 1:
					b = slices.Delete(b, at, min(len(b), at+1+random.IntN(4)))
				default:
					b = slices.Insert(b, at, []byte([]string{`"`, `\`, `{`, `}`, `,`, `"name":"z",`, `"metadata":{},`, "0", "\x08\x01", "\n\x03\n\x01z"}[random.IntN(10)])...)
				}
			}
			is, err := IdentityOf(b)
			decoded, failed := decodedIdentity(b)
			switch {
			case failed != nil && err != nil:
				broken++
			case failed == nil && (err != nil || !reflect.DeepEqual(is, decoded)):
				t.Fatalf("%q\nis of %+v, %v\nand decodes to %+v", b, is, err, decoded)
			case failed == nil:
				same++
			} // else the fault is in what nobody asked for
		}
		if same < 2000 || broken < 2000 {
			t.Errorf("%s: of the mutants %d can be read, %d cannot", form, same, broken)
		}
	}
}
