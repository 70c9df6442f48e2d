package admin

import (
	"context"
	"time"

	"k8s.io/client-go/rest"
)

const (
	// askTimeout bounds a question to another master.
	askTimeout = 3 * time.Second
	// orderTimeout bounds a command that writes files there.
	orderTimeout = 15 * time.Second
)

// Caller calls the commands of other masters.
type Caller struct {
	// Config is how this master proves that it is one, at present; its Host is filled in.
	Config func() *rest.Config
	// Introduced is the client that shows who calls, and looks at who answers.
	Introduced func(*Client) *Client
}

// To gives a client of the commands of the master at a URL.
func (c *Caller) To(url string) (*Client, error) {
	config := c.Config()
	config.Host = url
	client, err := NewClient(config)
	if err != nil {
		return nil, err
	}
	return c.Introduced(client), nil
}

// Ask calls a command without a body, within three seconds.
func (c *Caller) Ask(ctx context.Context, url, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client, err := c.To(url)
	if err != nil {
		return err
	}
	return client.Get(ctx, path, out)
}

// Order is Ask for a command with a body, within fifteen seconds.
func (c *Caller) Order(ctx context.Context, url, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	client, err := c.To(url)
	if err != nil {
		return err
	}
	return client.Post(ctx, path, in, out)
}
