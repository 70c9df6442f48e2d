package backup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3Options say where a bucket is and who may use it.
type S3Options struct {
	// Endpoint is a host with an optional port, or a URL; without a scheme it is HTTPS.
	Endpoint string
	Bucket   string
	// Prefix of all objects, such as "clusters/one".
	Prefix string
	// Region of the bucket; empty asks the server.
	Region string
	// CredentialsFile is in the form of the AWS command line, with the profile Profile. Empty takes
	// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment, then the default file.
	CredentialsFile, Profile string
	// InstanceRole asks the cloud's metadata service for credentials.
	InstanceRole bool
	// CAFile holds the authorities that the server's certificate may come from; empty means the system's.
	CAFile string
}

const (
	// partSize is what of an upload is held in memory at once; an object has at most 10,000 parts.
	partSize = 32 << 20
	// s3Retries bounds how often a request is repeated.
	s3Retries   = 4
	dialTimeout = 5 * time.Second
	// answerTimeout bounds the wait for the beginning of an answer, in particular to the completion of a large upload.
	answerTimeout = 5 * time.Minute
)

type bucket struct {
	client       *minio.Client
	name, prefix string
	where        string
}

// NewS3 is the vault in a bucket of an S3-compatible server. It does not connect yet.
func NewS3(o S3Options) (Vault, error) {
	switch {
	case o.Endpoint == "":
		return nil, errors.New("the bucket's server is missing: give --backup-s3-endpoint")
	case o.Bucket == "":
		return nil, errors.New("the bucket is missing: give --backup-s3-bucket")
	}
	endpoint := o.Endpoint
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("--backup-s3-endpoint %q is neither HOST[:PORT] nor https://HOST[:PORT]", o.Endpoint)
	}
	transport, err := o.transport()
	if err != nil {
		return nil, err
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: o.credentials(), Secure: u.Scheme == "https", Transport: transport, Region: o.Region, MaxRetries: s3Retries,
	})
	if err != nil {
		return nil, fmt.Errorf("the bucket's server cannot be used: %w", err)
	}
	prefix := strings.Trim(o.Prefix, "/")
	where := strings.TrimSuffix("s3://"+u.Host+"/"+path.Join(o.Bucket, prefix), "/")
	if prefix != "" {
		prefix += "/"
	}
	return &bucket{client: client, name: o.Bucket, prefix: prefix, where: where}, nil
}

func (o *S3Options) transport() (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   2 * dialTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
	}
	if o.CAFile == "" {
		return t, nil
	}
	data, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--backup-s3-ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("--backup-s3-ca-file: %s holds no certificate", o.CAFile)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

func (o *S3Options) credentials() *credentials.Credentials {
	file := &credentials.FileAWSCredentials{Filename: o.CredentialsFile, Profile: o.Profile}
	if o.CredentialsFile != "" {
		return credentials.New(file)
	}
	providers := []credentials.Provider{&credentials.EnvAWS{}, file}
	if o.InstanceRole {
		providers = append(providers, &credentials.IAM{})
	}
	return credentials.NewChainCredentials(providers)
}

func (b *bucket) String() string            { return b.where }
func (b *bucket) Path(_, _ string) string   { return "" }
func (b *bucket) key(n, file string) string { return b.prefix + n + "/" + file }

// explain tells what an operator can do about the errors that buckets give.
func (b *bucket) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	answer := minio.ToErrorResponse(err)
	var transport *url.Error
	var network net.Error
	switch {
	case answer.Code == minio.NoSuchBucket:
		return fmt.Errorf("the bucket of %s does not exist: make it, or choose another with --backup-s3-bucket", b.where)
	case answer.Code == minio.InvalidAccessKeyID || answer.Code == minio.SignatureDoesNotMatch || strings.Contains(answer.Code, "UserNotFound"):
		return fmt.Errorf("%s does not accept the credentials (%s): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --backup-s3-credentials-file", b.where, answer.Code)
	case answer.Code == minio.AccessDenied || answer.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s denies access: its policy must allow these credentials to list, read, write and delete: %w", b.where, err)
	case answer.StatusCode == http.StatusInsufficientStorage || answer.Code == "XMinioStorageFull" || strings.Contains(answer.Code, "QuotaExceeded"):
		return fmt.Errorf("%s is full: remove old backups with wheelhouse backup prune, or enlarge it: %w", b.where, err)
	case errors.As(err, &transport), errors.As(err, &network):
		return fmt.Errorf("%s cannot be reached: %w", b.where, err)
	}
	return fmt.Errorf("%s: %w", b.where, err)
}

func missing(err error) bool {
	code := minio.ToErrorResponse(err).Code
	return code == minio.NoSuchKey || code == "NotFound"
}

func (b *bucket) Check(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for o := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix, MaxKeys: 1}) {
		return b.explain(o.Err)
	}
	return nil
}

func (b *bucket) List(ctx context.Context) ([]Entry, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all []Entry
	at := map[string]int{}
	entry := func(key string, changed time.Time) (e *Entry, file string) {
		name, file, ok := strings.Cut(strings.TrimPrefix(key, b.prefix), "/")
		if !ok || !namePattern.MatchString(name) || strings.Contains(file, "/") {
			return nil, ""
		}
		n, ok := at[name]
		if !ok {
			n = len(all)
			at[name] = n
			all = append(all, Entry{Name: name, Files: map[string]int64{}})
		}
		if changed.After(all[n].Changed) {
			all[n].Changed = changed
		}
		return &all[n], file
	}
	for o := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, b.explain(o.Err)
		}
		if e, file := entry(o.Key, o.LastModified); e != nil && ofBackup[file] {
			e.Files[file] = o.Size
		}
		if len(all) > entriesMax {
			return nil, tooMany(b)
		}
	}
	for u := range b.client.ListIncompleteUploads(ctx, b.name, b.prefix, true) {
		if u.Err != nil {
			break // some servers and policies do not tell; such uploads are then left to the bucket's own rules
		}
		if entry(u.Key, u.Initiated); len(all) > entriesMax {
			return nil, tooMany(b)
		}
	}
	return all, nil
}

func (b *bucket) Open(ctx context.Context, name, file string) (io.ReadCloser, int64, error) {
	o, err := b.client.GetObject(ctx, b.name, b.key(name, file), minio.GetObjectOptions{})
	if err != nil {
		return nil, 0, b.explain(err)
	}
	info, err := o.Stat()
	if err != nil {
		o.Close()
		if missing(err) {
			return nil, 0, fmt.Errorf("%s of backup %s: %w %s", file, name, ErrNotFound, b.where)
		}
		return nil, 0, b.explain(err)
	}
	return o, info.Size, nil
}

func (b *bucket) Write(ctx context.Context, name, file string, from io.Reader, size int64) error {
	_, err := b.client.PutObject(ctx, b.name, b.key(name, file), &bounded{ctx, from}, size,
		minio.PutObjectOptions{ContentType: "application/octet-stream", PartSize: partSize})
	return b.explain(err)
}

func (b *bucket) Remove(ctx context.Context, name, file string) error {
	return b.explain(b.client.RemoveObject(ctx, b.name, b.key(name, file), minio.RemoveObjectOptions{}))
}

func (b *bucket) Clear(ctx context.Context, name string) error {
	if err := b.Remove(ctx, name, ManifestFile); err != nil {
		return err
	}
	listing, stop := context.WithCancel(ctx)
	defer stop()
	for o := range b.client.ListObjects(listing, b.name, minio.ListObjectsOptions{Prefix: b.prefix + name + "/", Recursive: true}) {
		if o.Err != nil {
			return b.explain(o.Err)
		}
		if err := b.client.RemoveObject(ctx, b.name, o.Key, minio.RemoveObjectOptions{}); err != nil {
			return b.explain(err)
		}
	}
	for u := range b.client.ListIncompleteUploads(listing, b.name, b.prefix+name+"/", true) {
		if u.Err != nil {
			break
		}
		if err := b.client.RemoveIncompleteUpload(ctx, b.name, u.Key); err != nil {
			return b.explain(err)
		}
	}
	return nil
}
