package vulnerabilities

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"
)

// logEverything sends the log of the libraries in this process, at full verbosity, to a writer.
func logEverything(w io.Writer) {
	klog.SetOutput(w)
	klog.LogToStderr(false)
	var level klog.Level
	if err := level.Set("10"); err != nil {
		panic(err)
	}
}

// TestDefaultRoles: who edits a namespace can neither send others' traffic to itself nor itself into other namespaces.
func TestDefaultRoles(t *testing.T) {
	ctx := context.Background()
	forbidden := map[string]bool{
		"/endpoints": true, "discovery.k8s.io/endpointslices": true, "/services/status": true, "networking.k8s.io/ingresses/status": true,
		"/nodes": true, "/nodes/proxy": true, "/pods/binding": true, "/bindings": true, "/serviceaccounts/token!": true,
	}
	for _, name := range []string{"view", "edit", "admin"} {
		var rules int
		eventually(t, "the rules of "+name, func() error {
			role, err := administrator.RbacV1().ClusterRoles().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if rules = len(role.Rules); rules == 0 {
				return fmt.Errorf("it has none")
			}
			for _, rule := range role.Rules {
				if !slices.ContainsFunc(rule.Verbs, func(v string) bool { return !slices.Contains([]string{"get", "list", "watch"}, v) }) {
					continue
				}
				if name == "view" && !slices.Contains(rule.APIGroups, "authorization.k8s.io") {
					t.Errorf("view may write: %v", rule)
				}
				for _, group := range rule.APIGroups {
					for _, resource := range rule.Resources {
						if forbidden[group+"/"+resource] || resource == "*" || group == "*" {
							t.Errorf("%s may write %s/%s", name, group, resource)
						}
					}
				}
			}
			return nil
		})
	}
}

// TestTraversal sends names that would lead elsewhere if keys of the store were made of them.
func TestTraversal(t *testing.T) {
	ctx := context.Background()
	ns := namespace(t, nil)
	const planted = "planted-in-a-secret"
	_, err := administrator.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"k": planted}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(planted))
	for _, path := range []string{
		"/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets%2f" + ns + "%2fs",
		"/api/v1/namespaces/default/configmaps/..%2fsecrets",
		"/api/v1/namespaces/..%2fsecrets/configmaps",
		"/api/v1/namespaces/..%2f..%2fsecrets%2f" + ns + "/configmaps",
		"/api/v1/namespaces/..%2fsecrets/configmaps?watch=1&timeoutSeconds=1",
		"/api/v1/namespaces/default%2f..%2f" + ns + "/configmaps",
		"/api/v1/namespaces/%2e%2e/secrets",
		"/api/v1/namespaces/default/configmaps/%2e%2e",
		"/api/v1/namespaces/default/configmaps/..",
		"/api/v1/namespaces/default/configmaps/..%5c..%5csecrets",
		"/api/v1/namespaces/default/configmaps/a%00b",
		"/api/v1/configmaps?fieldSelector=metadata.namespace=..%2fsecrets",
		"/api/v1/configmaps?fieldSelector=" + url.QueryEscape("metadata.name=../../secrets/"+ns+"/s"),
		"/apis/apps/v1/namespaces/..%2f..%2fsecrets/deployments",
	} {
		if code, body := (call{path: path}).do(t); strings.Contains(body, encoded) || code >= 500 || code == 200 && strings.Contains(body, `"uid"`) {
			t.Errorf("%s: %d %.300s", path, code, body)
		}
	}
	for _, name := range []string{"..", ".", "a/b", "../secrets/x", "a%2fb", "a%b", "a\x00b", "a\nb", " ", "a/"} {
		o := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
		body := encode(t, "v1", "ConfigMap", o)
		call{path: "/api/v1/namespaces/default/configmaps", body: body}.refused(t, 422)
		if strings.ContainsAny(name, "/%") || strings.Trim(name, ".") == "" { // an event's name may be any other segment of a path
			call{path: "/api/v1/namespaces/default/events", body: encode(t, "v1", "Event", corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
				InvolvedObject: corev1.ObjectReference{Namespace: "default"}})}.refused(t, 422)
		}
		call{path: "/api/v1/namespaces", body: encode(t, "v1", "Namespace", corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})}.refused(t, 422)
		call{path: "/apis/rbac.authorization.k8s.io/v1/clusterroles", body: fmt.Sprintf(`{"metadata":{"name":%q},"rules":[]}`, strings.NewReplacer("\x00", "/", "\n", "/", "a%b", "/", " ", "/").Replace(name))}.refused(t, 400, 422)
		o.Namespace, o.Name = "../secrets", "x"
		call{path: "/api/v1/namespaces/default/configmaps", body: encode(t, "v1", "ConfigMap", o)}.refused(t, 400)
	}
	call{path: "/api/v1/namespaces/..%2fsecrets/configmaps", body: encode(t, "v1", "ConfigMap", corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}})}.refused(t, 400, 403, 404, 405, 422)
}

// TestAdmissionOfAllVerbs: what is refused on create is refused by every other way to the same object.
func TestAdmissionOfAllVerbs(t *testing.T) {
	ctx := context.Background()
	ns := namespace(t, map[string]string{"pod-security.kubernetes.io/enforce": "baseline"})
	pods := "/api/v1/namespaces/" + ns + "/pods"
	yes := true
	bad := pod("bad", func(p *corev1.Pod) {
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	})
	body := encode(t, "v1", "Pod", bad)
	apply := map[string]string{"Content-Type": "application/apply-patch+yaml"}
	strategic := map[string]string{"Content-Type": string(types.StrategicMergePatchType)}
	call{path: pods, body: body}.refused(t, 403)
	call{path: pods + "?dryRun=All", body: body}.refused(t, 403)
	call{method: http.MethodPatch, path: pods + "/bad?fieldManager=x", header: apply, body: body}.refused(t, 403)

	if _, err := administrator.CoreV1().Pods(ns).Create(ctx, pod("good", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ephemeral := `{"spec":{"ephemeralContainers":[{"name":"debug","image":"i","securityContext":{"privileged":true}}]}}`
	call{method: http.MethodPatch, path: pods + "/good/ephemeralcontainers", header: strategic, body: ephemeral}.refused(t, 403)
	call{method: http.MethodPatch, path: pods + "/good/ephemeralcontainers", header: map[string]string{"Content-Type": string(types.JSONPatchType)},
		body: `[{"op":"add","path":"/spec/ephemeralContainers","value":[{"name":"debug","image":"i","securityContext":{"privileged":true}}]}]`}.refused(t, 403)
	good, err := administrator.CoreV1().Pods(ns).Get(ctx, "good", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	good.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "i", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}}}
	call{method: http.MethodPut, path: pods + "/good/ephemeralcontainers", body: encode(t, "v1", "Pod", good)}.refused(t, 403)

}

// TestNodesOwnRules: what a node may not change of itself it may not change by any verb, of the node or of its status.
func TestNodesOwnRules(t *testing.T) {
	ctx := context.Background()
	yes := true
	made, err := administrator.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "patched"}, Spec: corev1.NodeSpec{
		Taints: []corev1.Taint{{Key: "example.com/kept", Effect: corev1.TaintEffectNoSchedule}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer administrator.CoreV1().Nodes().Delete(ctx, "patched", metav1.DeleteOptions{})
	node := []string{"system:node:patched", "system:nodes", "system:authenticated"}
	for what, change := range map[string]func(n *corev1.Node){
		"restricted label": func(n *corev1.Node) { n.Labels = map[string]string{"node-restriction.kubernetes.io/x": "y"} },
		"role":             func(n *corev1.Node) { n.Labels = map[string]string{"node-role.kubernetes.io/control-plane": ""} },
		"owner": func(n *corev1.Node) {
			n.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "none", UID: "1", Controller: &yes}}
		},
		"taints": func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "example.com/other", Effect: corev1.TaintEffectNoSchedule}}
		},
	} {
		for _, path := range []string{"/api/v1/nodes/patched", "/api/v1/nodes/patched/status"} {
			t.Run(what+path, func(t *testing.T) {
				whole := made.DeepCopy()
				change(whole)
				whole.ManagedFields, whole.ResourceVersion = nil, ""
				call{method: http.MethodPut, path: path, body: encode(t, "v1", "Node", whole), as: node}.refused(t, 403)
				var applied corev1.Node
				applied.Name = "patched"
				change(&applied)
				part := encode(t, "v1", "Node", applied)
				for _, contentType := range []types.PatchType{types.StrategicMergePatchType, types.MergePatchType} {
					call{method: http.MethodPatch, path: path, header: map[string]string{"Content-Type": string(contentType)}, body: part, as: node}.refused(t, 403)
				}
				call{method: http.MethodPatch, path: path + "?fieldManager=kubelet&force=true", header: map[string]string{"Content-Type": "application/apply-patch+yaml"}, body: part, as: node}.refused(t, 403)
			})
		}
	}
	if now, err := administrator.CoreV1().Nodes().Get(ctx, "patched", metav1.GetOptions{}); err != nil || len(now.Labels)+len(now.OwnerReferences) > 0 ||
		!slices.ContainsFunc(now.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == "example.com/kept" }) {
		t.Errorf("the node has changed itself: %v, %v", err, now)
	}
}

// TestMountableSecrets: a service account that is held to its list of secrets is so in every place where a pod can name one.
func TestMountableSecrets(t *testing.T) {
	ctx := context.Background()
	ns := namespace(t, nil)
	_, err := administrator.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "held", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}},
		Secrets:    []corev1.ObjectReference{{Name: "allowed"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	env := func(secret string) []corev1.EnvVar {
		return []corev1.EnvVar{{Name: "E", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "k"}}}}
	}
	envFrom := func(secret string) []corev1.EnvFromSource {
		return []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}}}
	}
	ways := map[string]func(p *corev1.Pod, secret string){
		"volume": func(p *corev1.Pod, secret string) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
		},
		"env":     func(p *corev1.Pod, secret string) { p.Spec.Containers[0].Env = env(secret) },
		"envFrom": func(p *corev1.Pod, secret string) { p.Spec.Containers[0].EnvFrom = envFrom(secret) },
		"init env": func(p *corev1.Pod, secret string) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "i", Env: env(secret)}}
		},
		"init envFrom": func(p *corev1.Pod, secret string) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "i", EnvFrom: envFrom(secret)}}
		},
	}
	i := 0
	for name, use := range ways {
		i++
		make := func(secret string) string {
			return encode(t, "v1", "Pod", pod(fmt.Sprintf("p%d", i), func(p *corev1.Pod) { p.Spec.ServiceAccountName = "held"; use(p, secret) }))
		}
		t.Run(name, func(t *testing.T) {
			call{path: "/api/v1/namespaces/" + ns + "/pods", body: make("other")}.refused(t, 403)
			call{path: "/api/v1/namespaces/" + ns + "/pods", body: make("allowed")}.refused(t, 201)
		})
	}
	// The first pod exists by now: a container that is added to it is held to the same list.
	for name, container := range map[string]corev1.EphemeralContainerCommon{
		"ephemeral env":     {Name: "e", Image: "i", Env: env("other")},
		"ephemeral envFrom": {Name: "e", Image: "i", EnvFrom: envFrom("other")},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := administrator.CoreV1().Pods(ns).Get(ctx, "p1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: container}}
			call{method: http.MethodPut, path: "/api/v1/namespaces/" + ns + "/pods/p1/ephemeralcontainers", body: encode(t, "v1", "Pod", p)}.refused(t, 403)
		})
	}
}

// TestNamespaceOrder deletes a namespace: its network policies hold until its last pod is gone.
func TestNamespaceOrder(t *testing.T) {
	ctx := context.Background()
	ns := namespace(t, nil)
	held := pod("held", func(p *corev1.Pod) { p.Finalizers = []string{"test.example/hold"} })
	if _, err := administrator.CoreV1().Pods(ns).Create(ctx, held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := administrator.NetworkingV1().NetworkPolicies(ns).Create(ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pods, err := administrator.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer pods.Stop()
	policies, err := administrator.NetworkingV1().NetworkPolicies(ns).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer policies.Stop()
	if err := administrator.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace's word that its pod is left", func() error {
		o, err := administrator.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range o.Status.Conditions {
			if c.Type == corev1.NamespaceContentRemaining && c.Status == corev1.ConditionTrue && strings.Contains(c.Message, "pods") {
				return nil
			}
		}
		return fmt.Errorf("%v", o.Status.Conditions)
	})
	if policy, err := administrator.NetworkingV1().NetworkPolicies(ns).Get(ctx, "deny", metav1.GetOptions{}); err != nil || policy.DeletionTimestamp != nil {
		t.Errorf("the policy does not hold any more: %v %v", policy, err)
	}
	if _, err := administrator.CoreV1().Pods(ns).Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := func(events watch.Interface) (revision int) {
		for e := range events.ResultChan() {
			if e.Type == watch.Deleted {
				if _, err := fmt.Sscan(e.Object.(metav1.Object).GetResourceVersion(), &revision); err != nil {
					t.Fatal(err)
				}
				return revision
			}
		}
		t.Fatal("the watch ended")
		return 0
	}
	if lastPod, policy := gone(pods), gone(policies); policy < lastPod {
		t.Errorf("the policy went at revision %d, the pod at %d", policy, lastPod)
	}
}

// TestNodes: a node that was taken over reaches its own objects only.
func TestNodes(t *testing.T) {
	ctx := context.Background()
	ns := namespace(t, nil)
	made, err := administrator.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "taken"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := administrator.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := administrator.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node := []string{"system:node:taken", "system:nodes", "system:authenticated"}
	merge := map[string]string{"Content-Type": string(types.MergePatchType)}
	patch := func(path, body string) {
		t.Helper()
		call{method: http.MethodPatch, path: path, header: merge, body: body, as: node}.refused(t, 403)
	}
	patch("/api/v1/nodes/taken", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"none","uid":"1"}]}}`)
	patch("/api/v1/nodes/taken", `{"spec":{"taints":null,"unschedulable":false},"metadata":{"labels":{"node-restriction.kubernetes.io/a":"b"}}}`)
	patch("/api/v1/nodes/taken", `{"metadata":{"labels":{"kubernetes.io/anything":"x"}}}`)
	patch("/api/v1/nodes/other", `{"metadata":{"labels":{"a":"b"}}}`)
	patch("/api/v1/nodes/other/status", `{"status":{"conditions":[]}}`)
	call{method: http.MethodDelete, path: "/api/v1/nodes/other", as: node}.refused(t, 403)
	for _, path := range []string{"/api/v1/namespaces/" + ns + "/secrets/s", "/api/v1/namespaces/" + ns + "/secrets", "/api/v1/secrets", "/api/v1/namespaces/" + ns + "/configmaps"} {
		call{path: path, as: node}.refused(t, 403)
	}

	pods := "/api/v1/namespaces/" + ns + "/pods"
	controller := true
	mirror := func(name string, change func(*corev1.Pod)) string {
		return encode(t, "v1", "Pod", pod(name, func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "taken", UID: made.UID, Controller: &controller}}
			p.Spec.NodeName = "taken"
			if change != nil {
				change(p)
			}
		}))
	}
	claim := "claim"
	for name, change := range map[string]func(*corev1.Pod){
		"claim": func(p *corev1.Pod) {
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "c", ResourceClaimName: &claim}}
		},
		"template": func(p *corev1.Pod) {
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "c", ResourceClaimTemplateName: &claim}}
		},
		"secret": func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}}}
		},
		"account":  func(p *corev1.Pod) { p.Spec.ServiceAccountName = "default" },
		"ordinary": func(p *corev1.Pod) { p.Annotations = nil },
		"elsewhere": func(p *corev1.Pod) {
			p.Spec.NodeName = "other"
		},
		"unowned": func(p *corev1.Pod) { p.OwnerReferences = nil },
	} {
		t.Run("mirror pod "+name, func(t *testing.T) {
			call{path: pods, body: mirror(name, change), as: node}.refused(t, 403)
		})
	}
	call{path: pods, body: mirror("mirror", nil), as: node}.refused(t, 201)
	call{path: "/api/v1/namespaces/" + ns + "/serviceaccounts/default/token", body: `{"spec":{"audiences":["x"]}}`, as: node}.refused(t, 403)
}

// TestLogs plants secrets in all places where a request carries them, makes requests of all outcomes, and searches the log.
func TestLogs(t *testing.T) {
	ns := namespace(t, nil)
	const word = "planted7f3a"
	encoded := base64.StdEncoding.EncodeToString([]byte(word))
	secrets := "/api/v1/namespaces/" + ns + "/secrets"
	secret := func(name string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q},"data":{"k":%q},"stringData":{"l":%q}}`, name, encoded, word)
	}
	call{path: secrets, body: secret("s")}.refused(t, 201)
	call{path: secrets, body: secret("s")}.refused(t, 409)
	call{path: secrets, body: secret("Not_A_Name")}.refused(t, 422)
	call{path: secrets, body: secret("s") + word}.refused(t, 400)
	call{path: secrets, body: `{"kind":"Secret","data":{"k":"` + word + `!"}}`}.refused(t, 400)
	call{path: secrets, body: secret("t"), as: []string{"nobody"}}.refused(t, 403)
	call{method: http.MethodPut, path: secrets + "/s", body: secret("s")}.refused(t, 200)
	call{method: http.MethodPatch, path: secrets + "/s", header: map[string]string{"Content-Type": "application/merge-patch+json"}, body: `{"data":{"k":"` + word + `!"}}`}.refused(t, 400, 422)
	call{path: secrets + "/s"}.refused(t, 200)
	call{path: secrets, header: map[string]string{"Authorization": "Bearer " + word}, stranger: true}.refused(t, 401)
	call{path: secrets, header: map[string]string{"Authorization": "Basic " + encoded}, stranger: true}.refused(t, 401, 403)
	call{path: secrets + "?access_token=" + word, stranger: true}.refused(t, 403)

	answer := call{path: "/api/v1/namespaces/" + ns + "/serviceaccounts/default/token", body: `{"spec":{}}`}.refused(t, 201)
	_, token, found := strings.Cut(answer, `"token":"`)
	if !found {
		t.Fatalf("no token: %s", answer)
	}
	token, _, _ = strings.Cut(token, `"`)
	call{path: "/api/v1/namespaces/" + ns + "/pods", header: map[string]string{"Authorization": "Bearer " + token}, stranger: true}.refused(t, 403)
	call{path: "/api/v1/namespaces/" + ns + "/pods", header: map[string]string{"Authorization": "Bearer " + token + "x"}, stranger: true}.refused(t, 401)
	key := strings.TrimSpace(string(shared.RESTConfig().KeyData))
	text := masterLog.String()
	for what, needle := range map[string]string{"a secret": word, "a secret's bytes": encoded, "a token": token[len(token)-40:], "a key": strings.Split(key, "\n")[1]} {
		if at := strings.Index(text, needle); at >= 0 {
			line := text[strings.LastIndex(text[:at], "\n")+1:]
			line, _, _ = strings.Cut(line, "\n")
			t.Errorf("the log holds %s: %s", what, line)
		}
	}
	if len(text) == 0 {
		t.Error("the log is empty: the test sees nothing")
	}
}

// TestHTTP2: a connection has a bounded number of streams and bounded headers.
func TestHTTP2(t *testing.T) {
	const settingsFrame, maxStreams, streamsMax = 4, 3, 250
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	connection, err := dialer.Dial("tcp", strings.TrimPrefix(shared.URL(), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(connection)
	head := make([]byte, 9)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(r, payload); err != nil || head[3] != settingsFrame {
		t.Fatalf("frame %v: %v", head, err)
	}
	streams := 0
	for ; len(payload) >= 6; payload = payload[6:] {
		if int(payload[0])<<8|int(payload[1]) == maxStreams {
			streams = int(payload[2])<<24 | int(payload[3])<<16 | int(payload[4])<<8 | int(payload[5])
		}
	}
	if streams == 0 || streams > streamsMax {
		t.Errorf("the server takes %d streams at once on one connection (0: without bound)", streams)
	}

	request, err := http.NewRequest(http.MethodGet, shared.URL()+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 64 {
		request.Header.Set(fmt.Sprintf("X-Flood-%d", i), strings.Repeat("x", 64<<10))
	}
	if response, err := stranger.Do(request); err == nil {
		response.Body.Close()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("4 MB of headers: %s", response.Status)
		}
	}
	call{path: "/healthz", stranger: true}.refused(t, 200)
}
