-- Values that are cut would be the same under a key.
create table gh_ost_test (id int not null auto_increment primary key, name varchar(40) not null, unique key one_name (name));
insert into gh_ost_test (name) values ('Johanna'), ('Johannes');
