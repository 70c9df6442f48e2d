package compat

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// KeepNodes makes n Ready nodes without a node agent behind them and keeps them ready until ctx ends.
// It returns when they exist.
func (c *Client) KeepNodes(ctx context.Context, n int) error {
	beat := func() error {
		for i := 1; i <= n; i++ {
			if err := c.beat(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}
	if err := beat(); err != nil {
		return err
	}
	go func() {
		for pause(ctx, 8*time.Second) == nil {
			beat() // a beat that fails is made up for by the next
		}
	}()
	return nil
}

func (c *Client) beat(ctx context.Context, i int) error {
	name := fmt.Sprintf("fake-%d", i)
	node := fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":%q,"labels":{"kubernetes.io/hostname":%q,"zone":"z%d"}}}`, name, name, i)
	if _, err := c.send(ctx, "POST", "/api/v1/nodes", node); err != nil {
		return err
	}
	resources := map[string]any{"cpu": "64", "memory": "256Gi", "pods": "2000", "ephemeral-storage": "100Gi"}
	conditions := []any{}
	for _, t := range [][2]string{{"Ready", "True"}, {"MemoryPressure", "False"}, {"DiskPressure", "False"}, {"PIDPressure", "False"}} {
		conditions = append(conditions, map[string]any{"type": t[0], "status": t[1], "reason": "fake", "lastHeartbeatTime": time.Now().UTC().Format(time.RFC3339)})
	}
	status := map[string]any{"status": map[string]any{"capacity": resources, "allocatable": resources, "conditions": conditions}}
	_, err := c.do(ctx, call{method: "PATCH", path: "/api/v1/nodes/" + name + "/status", auth: "cert", hasBody: true, limit: 5 * time.Second,
		body:   []byte(canonical(status)),
		header: http.Header{"Accept": {"application/json"}, "Content-Type": {"application/strategic-merge-patch+json"}}})
	return err
}
