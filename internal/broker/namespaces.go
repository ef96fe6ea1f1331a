package broker

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// NamespacePolicies are the policies this worker sets or looks at. Absent ones are the broker's defaults.
type NamespacePolicies struct {
	ReplicationClusters []string               `json:"replication_clusters,omitempty"`
	Retention           *RetentionPolicies     `json:"retention_policies,omitempty"`
	InactiveTopics      *InactiveTopicPolicies `json:"inactive_topic_policies,omitempty"`
	Auth                *AuthPolicies          `json:"auth_policies,omitempty"`
}

// RetentionPolicies: how long messages stay; -1 is for ever.
type RetentionPolicies struct {
	TimeInMinutes int64 `json:"retentionTimeInMinutes"`
	SizeInMB      int64 `json:"retentionSizeInMB"`
}

// InactiveTopicPolicies: whether the broker deletes topics that nobody uses.
type InactiveTopicPolicies struct {
	DeleteMode                 string `json:"inactiveTopicDeleteMode,omitempty"`
	MaxInactiveDurationSeconds int    `json:"maxInactiveDurationSeconds"`
	DeleteWhileInactive        bool   `json:"deleteWhileInactive"`
}

// AuthPolicies are the grants of a namespace: role to actions (produce, consume, functions, sources, sinks, packages).
type AuthPolicies struct {
	Namespace map[string][]string            `json:"namespace_auth,omitempty"`
	Topics    map[string]map[string][]string `json:"destination_auth,omitempty"`
}

// TenantInfo is what a tenant may do and who administers it.
type TenantInfo struct {
	AdminRoles      []string `json:"adminRoles"`
	AllowedClusters []string `json:"allowedClusters"`
}

// InternalConfiguration says where the broker keeps its own data (coordination contract, section 9.1).
type InternalConfiguration struct {
	MetadataStoreURL             string `json:"metadataStoreUrl"`
	ConfigurationMetadataStore   string `json:"configurationMetadataStoreUrl"`
	LedgersRootPath              string `json:"ledgersRootPath"`
	BookkeeperMetadataServiceURI string `json:"bookkeeperMetadataServiceUri"`
	StateStorageServiceURL       string `json:"stateStorageServiceUrl"`
}

// Clusters lists the clusters the broker knows; it is also the cheapest proof that the broker answers.
func (a *Admin) Clusters(ctx context.Context) ([]string, error) {
	var clusters []string
	err := a.call(ctx, "listing clusters", http.MethodGet, "/admin/v2/clusters", nil, &clusters)
	return clusters, err
}

// ActAsSuperuser does something that only superusers of the broker may do, and changes nothing: it lists the tenants.
func (a *Admin) ActAsSuperuser(ctx context.Context) error {
	var tenants []string
	return a.call(ctx, "listing tenants", http.MethodGet, "/admin/v2/tenants", nil, &tenants)
}

// InternalConfiguration reads the broker's metadata addresses.
func (a *Admin) InternalConfiguration(ctx context.Context) (*InternalConfiguration, error) {
	var conf InternalConfiguration
	if err := a.call(ctx, "reading the broker's internal configuration", http.MethodGet,
		"/admin/v2/brokers/internal-configuration", nil, &conf); err != nil {
		return nil, err
	}
	return &conf, nil
}

// Tenant reads a tenant.
func (a *Admin) Tenant(ctx context.Context, tenant string) (*TenantInfo, error) {
	if err := checkNames(tenant); err != nil {
		return nil, err
	}
	var info TenantInfo
	if err := a.call(ctx, "reading tenant "+tenant, http.MethodGet, "/admin/v2/tenants/"+url.QueryEscape(tenant), nil, &info); err != nil {
		return nil, err
	}
	return &info, nil
}

// TenantExists says whether there is such a tenant.
func (a *Admin) TenantExists(ctx context.Context, tenant string) (bool, error) {
	_, err := a.Tenant(ctx, tenant)
	if IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// Namespaces lists the namespaces of a tenant as tenant/namespace.
func (a *Admin) Namespaces(ctx context.Context, tenant string) ([]string, error) {
	if err := checkNames(tenant); err != nil {
		return nil, err
	}
	var names []string
	err := a.call(ctx, "listing the namespaces of tenant "+tenant, http.MethodGet, "/admin/v2/namespaces/"+url.QueryEscape(tenant), nil, &names)
	return names, err
}

// NamespacePolicies reads the policies of tenant/namespace.
func (a *Admin) NamespacePolicies(ctx context.Context, namespace string) (*NamespacePolicies, error) {
	path, err := namespacePath(namespace)
	if err != nil {
		return nil, err
	}
	var policies NamespacePolicies
	if err := a.call(ctx, "reading namespace "+namespace, http.MethodGet, path, nil, &policies); err != nil {
		return nil, err
	}
	return &policies, nil
}

// CreateNamespace creates tenant/namespace; IsConflict if it exists. The tenant must exist.
func (a *Admin) CreateNamespace(ctx context.Context, namespace string, policies NamespacePolicies) error {
	path, err := namespacePath(namespace)
	if err != nil {
		return err
	}
	return a.call(ctx, "creating namespace "+namespace, http.MethodPut, path, policies, nil)
}

// DeleteNamespace deletes tenant/namespace, with force together with all its topics (if the broker allows that at all).
func (a *Admin) DeleteNamespace(ctx context.Context, namespace string, force bool) error {
	path, err := namespacePath(namespace)
	if err != nil {
		return err
	}
	return a.call(ctx, "deleting namespace "+namespace, http.MethodDelete, path+"?force="+strconv.FormatBool(force), nil, nil)
}

// UnsubscribeNamespace deletes a subscription from all topics of tenant/namespace. The broker decodes its name once only
// (coordination contract, section 8.3), and answers well even if no topic had it
// or if the name has a blank, which it never finds.
func (a *Admin) UnsubscribeNamespace(ctx context.Context, namespace, subscription string) error {
	path, err := namespacePath(namespace)
	if err != nil {
		return err
	}
	return a.call(ctx, "removing subscription "+subscription+" from namespace "+namespace, http.MethodPost,
		path+"/unsubscribe/"+url.QueryEscape(subscription), nil, nil)
}

// namespacePath is /admin/v2/namespaces/tenant/namespace.
func namespacePath(namespace string) (string, error) {
	tenant, name, ok := strings.Cut(namespace, "/")
	if !ok {
		return "", fmt.Errorf("namespace %q is not tenant/namespace", namespace)
	}
	if err := checkNames(tenant, name); err != nil {
		return "", fmt.Errorf("namespace %q: %w", namespace, err)
	}
	return "/admin/v2/namespaces/" + url.QueryEscape(tenant) + "/" + url.QueryEscape(name), nil
}

// checkNames refuses names that would change the path they are put into.
func checkNames(names ...string) error {
	for _, name := range names {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") {
			return fmt.Errorf("name %q is not valid", name)
		}
	}
	return nil
}
