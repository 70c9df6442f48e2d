package apiserver

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
)

// connect answers the subresources that lead to a node, a pod or a service. What a request says wrongly is judged here; the
// way to the nodes' agents is not open, which it then tells.
func connect(x *exchange, c *call) {
	s := c.s
	item, err := c.rt.resource.Get(x.ctx, c.Namespace, trimPort(x.target), "")
	if err != nil {
		x.fail(err)
		return
	}
	switch o := item.Object().(type) {
	case *corev1.Pod:
		err = s.connectPod(x, o)
	case *corev1.Service:
		err = s.connectService(x, o)
	case *corev1.Node:
		err = unreachable(o.Name)
	default:
		err = methodNotAllowed()
	}
	if err != nil {
		x.fail(err)
	}
}

// trimPort is the name of the object that a proxy leads to, without scheme and port ("https:web:443").
func trimPort(t target) string {
	if t.subresource != "proxy" {
		return t.name
	}
	parts := strings.Split(t.name, ":")
	switch len(parts) {
	case 2:
		return parts[0]
	case 3:
		return parts[1]
	}
	return t.name
}

// connectService judges a proxy request to a service.
func (s *Server) connectService(x *exchange, service *corev1.Service) error {
	if _, port, ok := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(x.target.name, "https:"), "http:"), ":"); ok && port != "" {
		served := false
		for _, p := range service.Spec.Ports {
			served = served || p.Name == port || strconv.Itoa(int(p.Port)) == port
		}
		if !served {
			return apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, service.Name))
		}
	}
	rt := s.routes.Get().find("", "v1", "endpoints")
	if rt == nil || rt.resource == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, service.Name)
	}
	item, err := rt.resource.Get(x.ctx, service.Namespace, service.Name, "")
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, service.Name)
	}
	if err != nil {
		return err
	}
	if e, ok := item.Object().(*corev1.Endpoints); ok && len(e.Subsets) > 0 && len(e.Subsets[0].Addresses) > 0 { //nolint:staticcheck // it is what a proxy has always asked
		return apierrors.NewServiceUnavailable(fmt.Sprintf("the endpoints of service %q cannot be reached from here", service.Name))
	}
	return apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", service.Name))
}

func unreachable(node string) error {
	return apierrors.NewServiceUnavailable(fmt.Sprintf("node %q has no agent that can be reached", node))
}

func (s *Server) connectPod(x *exchange, pod *corev1.Pod) error {
	switch x.target.subresource {
	case "log":
		if err := checkLog(x.values(), pod); err != nil {
			return err
		}
		if pod.Spec.NodeName == "" {
			// A pod that waits for a node has written nothing.
			x.Header().Set("Content-Type", "text/plain")
			x.WriteHeader(http.StatusOK)
			return nil
		}
	case "exec", "attach":
		if _, err := chooseContainer(x.values().Get("container"), pod); err != nil {
			return err
		}
		fallthrough
	case "portforward":
		if pod.Spec.NodeName == "" {
			return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
		}
		if !httpstream.IsUpgradeRequest(x.r) {
			return apierrors.NewBadRequest("Upgrade request required")
		}
	case "proxy":
		if pod.Status.PodIP == "" {
			return apierrors.NewServiceUnavailable("address not allowed")
		}
	}
	return unreachable(pod.Spec.NodeName)
}

// checkLog judges the options of a log request.
func checkLog(q url.Values, pod *corev1.Pod) error {
	var errs field.ErrorList
	for _, o := range []struct {
		name  string
		least int64
		text  string
	}{
		{"tailLines", 0, "must be greater than or equal to 0"},
		{"limitBytes", 1, "must be greater than 0"},
		{"sinceSeconds", 1, "must be greater than 0"},
	} {
		if !q.Has(o.name) {
			continue
		}
		n, err := strconv.ParseInt(q.Get(o.name), 10, 64)
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		if n < o.least {
			errs = append(errs, field.Invalid(field.NewPath(o.name), n, o.text))
		}
	}
	if t := q.Get("sinceTime"); t != "" {
		if _, err := time.Parse(time.RFC3339, t); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		if q.Has("sinceSeconds") {
			errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
		}
	}
	if len(errs) > 0 {
		return bounds.Invalid(schema.GroupKind{Kind: "PodLogOptions"}, pod.Name, errs)
	}
	_, err := chooseContainer(q.Get("container"), pod)
	return err
}

// chooseContainer is the container that a request means.
func chooseContainer(name string, pod *corev1.Pod) (string, error) {
	names := func(init bool) []string {
		var all []string
		if init {
			for _, c := range pod.Spec.InitContainers {
				all = append(all, c.Name)
			}
			return all
		}
		for _, c := range pod.Spec.Containers {
			all = append(all, c.Name)
		}
		return all
	}
	if name == "" {
		all := names(false)
		if len(all) == 1 {
			return all[0], nil
		}
		text := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(all, " "))
		if init := names(true); len(init) > 0 {
			text += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(init, " "))
		}
		return "", apierrors.NewBadRequest(text)
	}
	all := append(names(false), names(true)...)
	for _, c := range pod.Spec.EphemeralContainers {
		all = append(all, c.Name)
	}
	for _, have := range all {
		if have == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}
