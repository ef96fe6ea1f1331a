package broker

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// FunctionPackage streams the package of a component of any kind, or with transform the transform function of a sink, from
// the functions API at WebServiceURL, which a broker may not serve; the caller closes it.
func (a *Admin) FunctionPackage(ctx context.Context, tenant, namespace, name string, transform bool) (io.ReadCloser, error) {
	fqfn := strings.Join([]string{tenant, namespace, name}, "/")
	path := "/admin/v3/functions/" + url.PathEscape(tenant) + "/" + url.PathEscape(namespace) + "/" + url.PathEscape(name) + "/download"
	if transform {
		path += "?transform-function=true"
	}
	response, err := a.sendAny(ctx, "downloading the package of "+fqfn, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}
