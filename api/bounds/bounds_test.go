package bounds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	goruntime "runtime"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// TestGoldenObjectsAreInBounds scans upstream's fully populated objects of every kind to their end in each format.
func TestGoldenObjectsAreInBounds(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "testdata", "HEAD", "*.json"))
	if err != nil || len(files) < 50 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
		if err != nil {
			continue // a kind that client-go does not know
		}
		s := scan{data: body}
		if !s.any(planOf(typeOf(o)), 0) || s.err != nil || len(bytes.TrimSpace(body[s.at:])) > 0 {
			t.Errorf("%s: the scan ended at %d of %d: %v", filepath.Base(file), s.at, len(body), s.err)
		}
		if want := tokens(t, body); s.values+s.raw != want {
			t.Errorf("%s: %d values counted, there are %d", filepath.Base(file), s.values+s.raw, want)
		}
		message, ok := o.(interface{ Marshal() ([]byte, error) })
		if !ok {
			continue
		}
		data, err := message.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		var u use
		if !u.message(data, planOf(typeOf(o))) {
			t.Errorf("%s: the scan of its protobuf did not reach the end: %v", filepath.Base(file), u.err)
		}
		text, err := yaml.JSONToYAML(body)
		if err == nil {
			err = YAML(text)
		}
		if err == nil {
			err = Object(o, nil)
		}
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
	}
}

// tokens counts values with the decoder of the library.
func tokens(t *testing.T, body []byte) int {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	var count func(any) int
	count = func(v any) int {
		n := 1
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				n += count(e)
			}
		case map[string]any:
			for _, e := range v {
				n += count(e)
			}
		}
		return n
	}
	return count(v)
}

func repeated(item string, n int) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }

func TestDocuments(t *testing.T) {
	containers := func(n int) string { return `{"spec":{"containers":[` + repeated("{}", n) + `]}}` }
	finalizers := func(n int) string { return `{"metadata":{"finalizers":[` + repeated(`""`, n) + `]}}` }
	cpu := func(quantity string) string { return `{"spec":{"overhead":{"cpu":` + quantity + `}}}` }
	for _, c := range []struct {
		name, body string
		code       int32
	}{
		{"nothing", "", 0},
		{"malformed", `{"spec":{"containers":[{]}`, 0},
		{"as many objects as are allowed", containers(MaxObjects), 0},
		{"one more", containers(MaxObjects + 1), 413},
		{"by an escaped name", strings.Replace(containers(MaxObjects+1), "containers", `c\u006fntainers`, 1), 413},
		{"under an unknown name", strings.Replace(containers(MaxObjects+1), "containers", `Containers`, 1), 0},
		{"as many scalars as are allowed", finalizers(MaxItems), 0},
		{"one scalar more", finalizers(MaxItems + 1), 413},
		{"nulls", `{"metadata":{"finalizers":[` + repeated("null", MaxItems+1) + `]}}`, 413},
		{"members", `{` + repeated(`"a":1`, MaxItems+1) + `}`, 413},
		{"values", `{"a":[` + repeated(`[`+repeated("1", 6000)+`]`, 11) + `]}`, 413},
		{"depth", strings.Repeat("[", MaxDepth+1), 400},
		{"depth allowed", strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), 0},
		{"quantity", cpu(`"1e99"`), 0},
		{"quantity too large", cpu(`"1e100"`), 400},
		{"quantity as a number", cpu(`1E+1000`), 400},
		{"quantity too small", cpu(`"1e-1000"`), 400},
		{"quantity with zeros", cpu(`"1e0000000000000000000000000000003"`), 0},
		{"quantity too long", cpu(`"` + strings.Repeat("1", maxQuantity+1) + `"`), 400},
		{"exa is no exponent", cpu(`"123E"`), 0},
		{"text like a quantity", `{"metadata":{"name":"1e99999"}}`, 0},
		{"fields of managers", managers(MaxItems), 0},
		{"fields of managers, too many", managers(MaxItems + 1), 413},
		{"quote at the end", `{"metadata":{"name":"a\\"},"spec":{"containers":[` + repeated("{}", MaxObjects+1) + `]}}`, 413},
	} {
		t.Run(c.name, func(t *testing.T) { verdict(t, JSON([]byte(c.body), &corev1.Pod{}), c.code) })
	}
}

// managers is an object with n fields of a manager, and what owns them.
func managers(n int) string {
	return `{"metadata":{"managedFields":[{"fieldsV1":{"f:data":{".":{},` + repeated(`"f:a":{}`, n) + `}}}]}}`
}

func verdict(t *testing.T, err error, code int32) {
	t.Helper()
	switch {
	case code == 0 && err != nil:
		t.Errorf("refused: %v", err)
	case code != 0 && (err == nil || err.(apierrors.APIStatus).Status().Code != code):
		t.Errorf("got %v, want %d", err, code)
	}
}

func bytesField(number int, value string) string {
	return string(wire.AppendBytes(nil, number, value))
}

func TestMessages(t *testing.T) {
	const containers = 2 // in the spec, which is 2 itself
	spec := func(fields string) string { return bytesField(2, fields) }
	many := strings.Repeat(bytesField(containers, ""), MaxObjects+1)
	for _, c := range []struct {
		name, body string
		code       int32
	}{
		{"nothing", "", 0},
		{"as many objects as are allowed", spec(strings.Repeat(bytesField(containers, ""), MaxObjects)), 0},
		{"one more", spec(many), 413},
		{"in two specs", spec(many[:MaxObjects]) + spec(many[:MaxObjects+2]), 0},
		{"by a number in more bytes", spec(strings.Repeat("\x92\x80\x80\x00\x00", MaxObjects+1)), 413},
		{"by a number that is cut", spec(strings.Repeat("\x92\x80\x80\x80\x80\x40\x00", MaxObjects+1)), 413},
		{"by a number that overflows", spec(strings.Repeat("\x92\x80\x80\x80\x80\x80\x80\x80\x80\x7e\x00", MaxObjects+1)), 413},
		{"after a group with what is no message", spec("\x1b" + bytesField(containers, "\xff") + "\x1c" + many), 413},
		{"after an unknown field", spec(bytesField(500, "\xff") + many), 413},
		{"after a malformed one", spec(bytesField(containers, "\xff") + many), 0}, // which the decoder refuses
		{"packed numbers", spec(bytesField(14, bytesField(4, strings.Repeat("\x01", MaxItems+1)))), 413},
		{"entries", bytesField(1, strings.Repeat(bytesField(11, bytesField(1, "a")+bytesField(2, "b")), MaxItems+1)), 413},
		{"entries with odd fields", bytesField(1, strings.Repeat(bytesField(11, "\x18\x01"), MaxItems+1)), 413},
		{"one pointer over and over", spec(strings.Repeat(bytesField(18, ""), MaxValues+1)), 413},
		{"quantity", spec(bytesField(containers, bytesField(8, bytesField(1, bytesField(1, "cpu")+bytesField(2, bytesField(1, "1e9999999")))))), 400},
		{"fields of managers", bytesField(1, bytesField(17, bytesField(7, bytesField(1, `{"f:a":[`+repeated("1", MaxItems+2)+`]}`)))), 413},
	} {
		t.Run(c.name, func(t *testing.T) { verdict(t, Protobuf([]byte(c.body), &corev1.Pod{}), c.code) })
	}
	extra := bytesField(3, bytesField(4, bytesField(1, "k")+bytesField(2, strings.Repeat(bytesField(1, ""), MaxItems+1))))
	verdict(t, Protobuf([]byte(extra), &authenticationv1.TokenReview{}), 0) // status is field 3, and user its second
	user := bytesField(3, bytesField(2, bytesField(4, bytesField(1, "k")+bytesField(2, strings.Repeat(bytesField(1, ""), MaxItems+1)))))
	verdict(t, Protobuf([]byte(user), &authenticationv1.TokenReview{}), 413)
}

// TestWhatPassesDecodesSmall decodes what is about as dear as the bounds allow. A scan itself allocates next to nothing.
func TestWhatPassesDecodesSmall(t *testing.T) {
	body := []byte(`{"spec":{"containers":[` + repeated("{}", MaxObjects) + `],"initContainers":[` + repeated("{}", MaxObjects) + `],"ephemeralContainers":[` + repeated("{}", MaxObjects) + `]}}`)
	allocated := func(f func() error) uint64 {
		var before, after goruntime.MemStats
		goruntime.ReadMemStats(&before)
		if err := f(); err != nil {
			t.Error(err)
		}
		goruntime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if err := JSON(body, &corev1.Pod{}); err != nil { // it makes the plan of pods as well
		t.Fatal(err)
	}
	if n := allocated(func() error { return JSON(body, &corev1.Pod{}) }); n > 64<<10 {
		t.Errorf("a scan allocates %d bytes", n)
	}
	if n := allocated(func() error { return json.Unmarshal(body, &corev1.Pod{}) }); n > 4*MaxMemory {
		t.Errorf("decoding allocates %d MiB", n>>20)
	}
}

func TestYAMLDocuments(t *testing.T) {
	for _, c := range []struct {
		name, body string
		code       int32
	}{
		{"a text of many lines", "data:\n  a: |\n" + strings.Repeat("    a line of it, with commas\n", 20_000), 0},
		{"lines", strings.Repeat("a: b\n", maxMarks), 413},
		{"flow", "a: [" + repeated("a", maxMarks+1) + "]", 413},
		{"dashes", strings.Repeat("- ", maxMarks+1), 413},
		{"questions", strings.Repeat("? ", maxMarks+1), 413},
		{"adjacent values", "{" + strings.Repeat(`"a":{`, maxMarks/2+1), 413},
		{"depth", "a: " + strings.Repeat("[", MaxDepth+1), 413},
		{"a reference", "a: &a {b: c}\nd: *a\ne:\n  <<: *a\n", 0},
		{"many references", "a: &a {b: c}\nd: [" + repeated("*a", 1000) + "]\n", 413},
		{"stars in texts", "a: " + strings.Repeat("5 * 5 ", 100_000), 0},
	} {
		t.Run(c.name, func(t *testing.T) { verdict(t, YAML([]byte(c.body)), c.code) })
	}
}

func TestChangedObjects(t *testing.T) {
	pod := func(n int) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Containers: make([]corev1.Container, n)}}
	}
	verdict(t, Object(pod(MaxObjects), nil), 0)
	verdict(t, Object(pod(MaxObjects+1), nil), 413)
	verdict(t, Object(pod(MaxObjects+1), pod(MaxObjects)), 413)
	verdict(t, Object(pod(MaxObjects+1), pod(MaxObjects+1)), 0)
	verdict(t, Object(pod(MaxObjects+2), pod(MaxObjects+1)), 413)
}

func TestErrorsAreCapped(t *testing.T) {
	var errs field.ErrorList
	for i := range 100_000 {
		errs = append(errs, field.Invalid(field.NewPath("a").Index(i), strings.Repeat("x", 100), "is wrong"))
	}
	status := Invalid(schema.GroupKind{Kind: "Pod"}, "p", errs).Status()
	if n := len(status.Details.Causes); n != MaxErrors+1 || len(status.Message) > 64<<10 {
		t.Errorf("%d causes and a message of %d bytes", n, len(status.Message))
	}
	if want := fmt.Sprintf("%d more errors", len(errs)-MaxErrors); !strings.HasSuffix(status.Message, want) || !strings.HasSuffix(status.Details.Causes[MaxErrors].Message, want) {
		t.Errorf("no %q at the end of %.100s... and %q", want, status.Message, status.Details.Causes[MaxErrors].Message)
	}
	few := errs[:MaxErrors]
	want := apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "p", few).Status()
	if got := Invalid(schema.GroupKind{Kind: "Pod"}, "p", few).Status(); got.Message != want.Message || len(got.Details.Causes) != len(want.Details.Causes) {
		t.Errorf("few errors are told in another way than upstream's")
	}
	long := field.ErrorList{field.Invalid(field.NewPath("a"), strings.Repeat("ä", 1<<20), "is long"), field.Invalid(field.NewPath("b"), make([]metav1.OwnerReference, 10_000), "is large")}
	if n := len(Invalid(schema.GroupKind{Kind: "Pod"}, "p", long).Status().Message); n > 16<<10 {
		t.Errorf("the message shows %d bytes of the values", n)
	}
}

// TestPlain: what is looked at briefly has no quantity that would be refused.
func TestPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const alphabet = "00123456789999eeEE+-.. kM,\""
	refused := 0
	for range 500_000 {
		text := make([]byte, r.IntN(12))
		for i := range text {
			text[i] = alphabet[r.IntN(len(alphabet))]
		}
		if _, err := resource.ParseQuantity(string(text)); err == nil && !saneQuantity(text) {
			refused++
			if plain(text) {
				t.Fatalf("%q is plain", text)
			}
		}
	}
	if refused < 100 {
		t.Errorf("only %d quantities out of bounds among the texts", refused)
	}
	if plain([]byte(strings.Repeat("1", maxQuantity+1))) {
		t.Error("a long number is plain")
	}
	for _, text := range []string{`{"metadata":{"name":"web-7f9c5e12d-x2x9k"}}`, "1e99", "12E", "1.5e-12", "10.244.100.200"} {
		if !plain([]byte(text)) {
			t.Errorf("%q is not plain", text)
		}
	}
}

// TestQuantitiesInEscapes: whoever decodes a patch into maps parses as a quantity what stands there in escapes.
func TestQuantitiesInEscapes(t *testing.T) {
	for _, text := range []string{`1\u00659999999`, `\u0031E9999999`, `1e\u0039999999`, `\u00201e9999999`, strings.Repeat(`\u0039`, maxQuantity+1)} {
		for _, space := range []int{0, smallDocument} {
			body := `{"spec":{"overhead":{"cpu":"` + text + `"}}}` + strings.Repeat(" ", space)
			if JSON([]byte(body), &corev1.Pod{}) == nil {
				t.Errorf("%.60s passes with %d spaces", body, space)
			}
		}
	}
	if err := JSON([]byte(`{"metadata":{"name":"\u0065"},"spec":{"overhead":{"cpu":"\u0031e3"}}}`), &corev1.Pod{}); err != nil {
		t.Error(err)
	}
}

func BenchmarkPod(b *testing.B) {
	body, err := json.Marshal(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i", Env: make([]corev1.EnvVar, 5), Ports: make([]corev1.ContainerPort, 2)}}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := JSON(body, &corev1.Pod{}); err != nil {
			b.Fatal(err)
		}
	}
}

func typeOf(o runtime.Object) reflect.Type { return reflect.TypeOf(o) }
