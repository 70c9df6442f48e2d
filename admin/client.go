package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Client calls the commands of a master.
type Client struct {
	base string
	http *http.Client
	// header is sent as shown with each call; seen gets what the answer has there.
	header, shown string
	seen          func(string)
}

// Introduce has the client send a header with each call, and tell what the answers have there.
func (c *Client) Introduce(header, shown string, seen func(string)) *Client {
	c.header, c.shown, c.seen = header, shown, seen
	return c
}

// NewClient makes a client with the credentials of a client configuration.
func NewClient(config *rest.Config) (*Client, error) {
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("the client configuration cannot be used: %w", err)
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // what is sent here is for this master alone
	return &Client{base: strings.TrimSuffix(config.Host, "/") + Root, http: c}, nil
}

// Get asks a command without a body; the JSON answer is read into out unless that is nil.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.Do(ctx, http.MethodGet, path, nil, out)
}

// Post sends in as JSON, nil for nothing.
func (c *Client) Post(ctx context.Context, path string, in, out any) error {
	return c.Do(ctx, http.MethodPost, path, in, out)
}

// Do calls a command. A refusal is the master's *apierrors.StatusError.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	body, err := c.Open(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, body)
	} else {
		err = decode(body, out)
	}
	if err != nil {
		return fmt.Errorf("the answer of %s%s broke off: %w", c.base, path, err)
	}
	return nil
}

// answerMax bounds an answer that is no stream, in bytes: the largest are counts of a backup's keys, and the status of very many masters.
const answerMax = 32 << 20

func decode(body io.Reader, out any) error {
	limited := &io.LimitedReader{R: body, N: answerMax + 1}
	err := json.NewDecoder(limited).Decode(out)
	if limited.N <= 0 {
		return fmt.Errorf("it is longer than %d bytes", answerMax)
	}
	return err
}

// Open calls a command whose answer is a stream, which the caller closes.
func (c *Client) Open(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if c.shown != "" {
		request.Header.Set(c.header, c.shown)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if c.seen != nil {
		c.seen(response.Header.Get(c.header))
	}
	if response.StatusCode < 300 {
		return response.Body, nil
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, bodyMax))
	if err != nil {
		return nil, err
	}
	return nil, statusOf(response.StatusCode, data)
}

func statusOf(code int, data []byte) error {
	var status metav1.Status
	if json.Unmarshal(data, &status) == nil && status.Message != "" {
		return &apierrors.StatusError{ErrStatus: status}
	}
	return errors.New(http.StatusText(code) + ": " + strings.TrimSpace(string(data)))
}
