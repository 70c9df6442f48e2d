package workload

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func inJob(j *batchv1.Job) Parts {
	return Parts{Template: &j.Spec.Template, Selector: j.Spec.Selector}
}

func job() *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "a.b", Labels: map[string]string{"a": "b"}},
		Spec: batchv1.JobSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "c", Image: "i:1", Lifecycle: &corev1.Lifecycle{StopSignal: new(corev1.Signal)}}},
				Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{}}}},
			}},
		},
		Status: batchv1.JobStatus{Active: 1},
	}
}

// TestDefine makes a kind of a type that has no rules of its own.
func TestDefine(t *testing.T) {
	var sawDefaults bool
	k := Define(kind.Resource{GroupVersion: batchv1.SchemeGroupVersion, Plural: "jobs"}, inJob, kind.Rules[batchv1.Job]{
		Default: func(j *batchv1.Job) { sawDefaults = j.Spec.Template.Spec.DNSPolicy != "" },
		Prepare: func(j, old *batchv1.Job) { j.Annotations = map[string]string{"prepared": "yes"} },
		Columns: Columns(inJob, "the selector", kind.Int("Active", "", func(j *batchv1.Job) int32 { return j.Status.Active })),
	})
	j := job()
	k.Default(j)
	if !sawDefaults {
		t.Error("the rules do not see the template's defaults")
	}
	if got := k.Warnings(j, nil); len(got) != 1 {
		t.Errorf("a new template has the warnings %q", got)
	}
	k.PrepareCreate(j)
	if j.Spec.Template.Spec.Containers[0].Lifecycle.StopSignal != nil || j.Annotations["prepared"] != "yes" || j.Status.Active != 0 {
		t.Errorf("a new object is prepared as %+v", j)
	}
	old := kind.Copy(j)
	if got := k.Warnings(j, old); len(got) > 0 {
		t.Errorf("a template that has not changed has the warnings %q", got)
	}
	if _, ok := k.Part("status"); !ok || k.Scale != nil || !k.Namespaced || !k.HasGeneration {
		t.Error("it is served as another kind of workload")
	}
	j.Spec.Template.Labels = map[string]string{"a": "c"}
	if !k.SpecChanged(j, old) {
		t.Error("a change of the template is none of the spec")
	}
	var names []string
	for _, c := range k.Columns {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, " "); got != "Name Active Age Containers Images Selector" {
		t.Errorf("columns %s", got)
	}
	if got := NamedWarnings(inJob)(j, nil); len(got) != 2 {
		t.Errorf("a name with a dot: %q", got)
	}
}

func TestSelectorsAndTemplates(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(is, was *Parts)
		problems string
	}{
		"the same":           {func(is, was *Parts) {}, ""},
		"no selector":        {func(is, was *Parts) { is.Selector = nil }, "spec.selector spec.template.metadata.labels spec.selector"},
		"an empty selector":  {func(is, was *Parts) { is.Selector = &metav1.LabelSelector{} }, "spec.selector spec.selector"},
		"no template":        {func(is, was *Parts) { is.Template = nil }, "spec.template"},
		"none of the pods":   {func(is, was *Parts) { is.Template.Labels = nil }, "spec.template.metadata.labels"},
		"a new object":       {func(is, was *Parts) { *was, is.Template.Spec.Containers = Parts{}, nil }, "spec.template.spec.containers"},
		"a template is kept": {func(is, was *Parts) { is.Template.Spec.Containers, was.Template.Spec.Containers = nil, nil }, ""},
		"a change":           {func(is, was *Parts) { is.Template.Spec.Containers = nil }, "spec.template.spec.containers"},
	} {
		define := Define(kind.Resource{Plural: "jobs"}, inJob, kind.Rules[batchv1.Job]{})
		after, before := job(), job()
		for _, j := range []*batchv1.Job{after, before} {
			define.Default(j)
			j.Spec.Template.Labels = map[string]string{"a": "b"}
			j.Spec.Template.Spec.Volumes = nil
			define.PrepareCreate(j)
		}
		is, was := inJob(after), inJob(before)
		test.change(&is, &was)
		var ps Problems
		ps.Selected(ps.Selects(is), is, was)
		ps.SameSelector(is, was)
		var fields []string
		for _, p := range ps.List {
			fields = append(fields, p.Field)
		}
		if got := strings.Join(fields, " "); got != test.problems {
			t.Errorf("%s: %v", name, ps.List)
		}
	}
}
