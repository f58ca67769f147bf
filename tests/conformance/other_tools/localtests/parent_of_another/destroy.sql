drop table gh_ost_child; drop table gh_ost_test;
