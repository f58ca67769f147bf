drop table gh_ost_test; drop table gh_ost_parent;
