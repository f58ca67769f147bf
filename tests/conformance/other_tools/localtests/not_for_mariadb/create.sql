-- Left out on MariaDB.
create table gh_ost_test (id int not null primary key);
