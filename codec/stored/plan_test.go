package stored

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
)

// anyMetadata is metadata with whatever may be in it.
func anyMetadata(random *rand.Rand) *metav1.ObjectMeta {
	text := func() string {
		return []string{"x", "web-1", "a\"b\\c\n", "<&>", "ü\u2028", "\x7f", "{}[],:", "example.com/v1", "\x00"}[random.IntN(9)]
	}
	some := func(f func()) {
		if random.IntN(2) == 0 {
			f()
		}
	}
	texts := func() map[string]string {
		m := map[string]string{}
		for range random.IntN(4) {
			m[[]string{"a", "app.kubernetes.io/name", "b", "z", "ü"}[random.IntN(5)]] = []string{"", text()}[random.IntN(2)]
		}
		return m
	}
	at := func() metav1.Time { return metav1.Unix(random.Int64N(4e9)-1e9, 0) }
	yes, seconds := random.IntN(2) == 0, random.Int64N(3)*17
	o := &metav1.ObjectMeta{Name: text()}
	some(func() { o.Namespace, o.UID, o.GenerateName, o.SelfLink = text(), "u", text(), text() })
	some(func() { o.Generation = random.Int64() >> random.IntN(63) })
	some(func() { o.CreationTimestamp = at() })
	some(func() { deleted := at(); o.DeletionTimestamp, o.DeletionGracePeriodSeconds = &deleted, &seconds })
	some(func() { o.Labels = texts() })
	some(func() { o.Annotations = texts() })
	some(func() { o.Finalizers = []string{text(), ""}[:1+random.IntN(2)] })
	for range random.IntN(3) {
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: text(), Name: text(), UID: "o"})
		some(func() { o.OwnerReferences[0].Controller = &yes })
		some(func() { o.OwnerReferences[0].BlockOwnerDeletion = &yes })
	}
	for range random.IntN(3) {
		seen := at()
		entry := metav1.ManagedFieldsEntry{Manager: text(), Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1"}
		some(func() { entry.Time, entry.Subresource = &seen, "status" })
		some(func() {
			entry.FieldsV1 = metav1.NewFieldsV1([]string{`{}`, `{"f:spec":{".":{},"k:{\"name\":\"c\"}":{"f:x":{}}}}`, `{"f:a":1}`, `{"f:ü":{}}`}[random.IntN(4)])
		})
		o.ManagedFields = append(o.ManagedFields, entry)
	}
	return o
}

// TestCheckedMetadataStaysTheSame: what is taken for metadata as it is written is written so once it is decoded, whatever a disk or a hand
// made of the bytes.
func TestCheckedMetadataStaysTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	parts := []string{`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, `"name":"z",`, `"uid":"",`, ` `, `null`, "\xff", `\u0041`, `\u003c`, `0`, `-`, `1`, `e`, `.5`, `Z`, `"labels":{},`, `"resourceVersion":"7",`,
		`true`, `false`, `"a":"b",`, `,"x":1`}
	whole, usual, mutants := 0, 0, 0
	for range 4000 {
		text, err := objectjson.Marshal(anyMetadata(random))
		if err != nil {
			t.Fatal(err)
		}
		whole++
		if isMetadata(text) {
			usual++
		}
		for n := range 15 {
			b := slices.Clone(text)
			for range min(n, 2) {
				at := random.IntN(len(b))
				switch random.IntN(4) {
				case 0:
					b[at] = byte(random.Uint32())
				case 1:
					b[at] = `0123456789:-TZ"{}[],`[random.IntN(20)]
				case 2:
					b = slices.Delete(b, at, min(len(b), at+1+random.IntN(8)))
				default:
					b = slices.Insert(b, at, []byte(parts[random.IntN(len(parts))])...)
				}
				if len(b) == 0 {
					break
				}
			}
			if !isMetadata(b) {
				continue
			}
			mutants++
			if !staysSame(b) {
				t.Fatalf("%s\nis taken for metadata as it is written", b)
			}
		}
	}
	if usual < whole/2 || mutants < usual {
		t.Errorf("of %d only %d are known, and %d of their mutants", whole, usual, mutants)
	}
}

// TestUsualMetadataIsChecked: what objects usually have needs no decoding, and what no decoder takes is doubted.
func TestUsualMetadataIsChecked(t *testing.T) {
	yes, now := true, metav1.NewTime(time.Unix(1.7e9, 0))
	o := &metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "u", Generation: 3, CreationTimestamp: now, Labels: map[string]string{"app": "web", "empty": ""},
		Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": `{"a":"<b>"}` + "\n"}, Finalizers: []string{"example.com/f"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "o", Controller: &yes}},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: "Apply", APIVersion: "v1", Time: &now, FieldsType: "FieldsV1", Subresource: "status",
			FieldsV1: metav1.NewFieldsV1(`{"f:spec":{".":{},"f:a":{}}}`)}}}
	text, err := objectjson.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if !isMetadata(text) {
		t.Errorf("%s is decoded to be sure", text)
	}
	deep := strings.Replace(string(text), `"f:a":{}`, `"f:a":`+strings.Repeat(`{"f:a":`, bounds.MaxDepth)+`{}`+strings.Repeat("}", bounds.MaxDepth), 1)
	if isMetadata([]byte(deep)) {
		t.Error("fields that nest deeper than any object may are taken as they are")
	}
}
